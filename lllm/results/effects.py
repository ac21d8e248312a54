"""What the deltas of a designed experiment do: effects from the rows of its table, told below it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lllm.results.judging import Judged, looked
from lllm.results.rows import Effect, Effects, Row
from lllm.results.rule import Design, Rule
from lllm.results.verdict import apart

__all__ = ["effects_markdown", "effects_of", "effects_text", "twins"]

_WHAT = {  # its numbers are
    "full_factorial": "effects on average over the other deltas; interaction: half of what one adds to the other's",
    "leave_one_out": "each delta left out of all",
    "add_one_in": "each delta alone",
}

Rows = Mapping[str, Row]  # by variant


def effects_of(made: Judged, rule: Rule) -> Effects | None:
    """Effects of the design's deltas, from the judged rows that are its variants as defined now; None without a
    design."""
    design = rule.design
    if design is None:
        return None
    rows: dict[str, Row] = {}
    for row in made.rows:
        if row.variant in design.of and not row.stale and not row.other:
            rows.setdefault(row.variant, row)
    none = Effects(design.kind, rule.metric, made.family.level if made.family else rule.level)
    if told := twins(design, {variant: row.arm for variant, row in rows.items()}):
        return replace(none, reason=told)
    baseline = next((variant for variant, row in rows.items() if row.baseline), next(iter(design.of)))
    of_kind = _factorial if design.kind == "full_factorial" else _one_by_one
    return of_kind(none, design, rows, baseline, made, rule)


def effects_text(effects: Effects) -> list[str]:
    """Lines to print below the table."""
    if effects.reason:
        return [f"no effects of the {_called(effects)}: {effects.reason}"]
    return [
        f"{_heading(effects)}:",
        *(f"  {effect.name}: {_told(effect, effects.metric)}" for effect in effects.effects),
    ]


def effects_markdown(effects: Effects) -> list[str]:
    """Lines of Markdown to write below the table."""
    if effects.reason:
        return [f"No effects of the {_called(effects)}: {effects.reason}."]
    lines = [f"{_heading(effects)}:", "", f"| effect | Δ {effects.metric} | ± | p |", "|---|---:|---:|---:|"]
    for effect in effects.effects:
        name = f"{effect.name}{f' ({effect.note})' if effect.note else ''}"
        numbers = ((effect.difference, "+.4f"), (effect.half, ".4f"), (effect.p, ".3g"))
        cells = [name, *("" if value is None else f"{value:{form}}" for value, form in numbers)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _factorial(none: Effects, design: Design, rows: Rows, baseline: str, made: Judged, rule: Rule) -> Effects:
    """Contrasts of all rows, over the seeds that the table judges by."""
    from lllm.results.statistics.factorial import factorial  # scipy is imported where something is computed

    missing = [reason for variant in design.of if (reason := _unfit(variant, rows, baseline, none.metric))]
    if missing:
        more = f", and so for {len(missing) - 1} more" if len(missing) > 1 else ""
        return replace(none, reason=f"{missing[0]}{more}")
    values: Mapping[str, Mapping[int, float]] = {variant: rows[variant].values for variant in design.of}
    if made.family is not None and made.family.most is not None:
        values, _ = looked(values, baseline, made.family.most)
    try:
        found = factorial(values, design.of, design.factors, none.level, not rule.unpaired)
    except ValueError as error:
        return replace(none, reason=str(error))
    base = values[baseline].keys()
    few = next((v for v in design.of if v != baseline and len(values[v].keys() & base) < 2), None)
    effects = []
    for one in found.effects:
        kind = "main effect of" if len(one.factors) == 1 else "interaction"
        effects.append(Effect(f"{kind} {' x '.join(one.factors)}", one.factors, one.difference))
    if few is not None and not rule.unpaired:
        note = f"no interval: {few} and {baseline} share fewer than two seeds"
        return replace(none, effects=tuple(replace(effect, note=note) for effect in effects))
    sure = [replace(effect, half=one.half, p=one.p) for effect, one in zip(effects, found.effects, strict=True)]
    told = tuple(replace(effect, note=_doubt(effect, rule.floor)) for effect in sure)
    return replace(none, effects=told, sd=found.sd, df=found.df, comparisons=len(told))


def _one_by_one(none: Effects, design: Design, rows: Rows, baseline: str, made: Judged, rule: Rule) -> Effects:
    """Each row minus the reference, as the table has it: what is missed without a delta, or what it brings alone."""
    reference, *others = design.of
    if reference != baseline:
        return replace(none, reason=f"the rows are compared with {baseline}; expected baseline: {reference}")
    if reason := _unfit(reference, rows, baseline, none.metric):
        return replace(none, reason=reason)
    effects = []
    how = "without" if design.kind == "leave_one_out" else "with"
    for variant, factor in zip(others, design.factors, strict=True):
        effect = Effect(f"{how} {factor}", (factor,), note=f"{variant} is not in this table")
        if (row := rows.get(variant)) is not None:
            if (found := row.interval) is not None:
                effect = replace(effect, difference=found.difference, half=found.half, p=found.p)
            doubt = "" if row.verdict.decided else _doubt(effect, rule.floor) or row.verdict.text
            effect = replace(effect, note=doubt)
        effects.append(effect)
    none = replace(none, effects=tuple(effects))
    family = made.family
    return replace(none, sd=family.sd, df=family.df, comparisons=family.comparisons) if family else none


def _doubt(effect: Effect, floor: float | None) -> str:
    """Why the numbers of an effect are none, '' where they are not known, or are one."""
    if effect.difference is None or effect.half is None:
        return ""
    if floor is not None and abs(effect.difference) <= floor:
        return "within the floor"
    if not floor and effect.half == 0 != effect.difference:
        return "all seeds agree exactly, so that their spread is not known"
    return "" if abs(effect.difference) > effect.half else "not told from none"


def _unfit(variant: str, rows: Rows, baseline: str, metric: str) -> str:
    """Why the variant's numbers may not be used, '' when they may."""
    row, base = rows.get(variant), rows.get(baseline)
    if row is None:
        return f"{variant} is not in this table"
    if not row.runs:
        return f"{variant} has no finished run"
    reason = apart(row, base, metric) if base is not None and base is not row and base.runs else ""
    if reason:
        return f"{variant} is not comparable with {baseline} ({reason})"
    return "" if row.values else f"{variant} has no {metric}"


def twins(design: Design, arms: Mapping[str, str]) -> str:
    """Which variant of a design is the arm of another one, and which delta changes nothing; '' where each is its own.
    arms: variant -> identity of those that are known."""
    first: dict[str, str] = {}
    for variant, own in design.of.items():
        other = first.setdefault(arms.get(variant) or variant, variant)
        if other != variant:
            deltas = [name for name in design.factors if (name in own) != (name in design.of[other])]
            told = "cannot be told apart" if len(deltas) > 1 else "changes nothing"
            return f"'{variant}' is the same arm as '{other}': {' and '.join(deltas)} {told}"
    return ""


def _called(effects: Effects) -> str:
    return effects.kind.replace("_", " ")


def _heading(effects: Effects) -> str:
    """What the numbers are, and how sure."""
    told = f"{_called(effects)}: {_WHAT[effects.kind]}"
    if effects.sd is None:
        return told
    sure = f"{effects.level:.4g} confidence of {effects.comparisons} at once"
    return f"{told}; ± {sure}, sd {effects.sd:.4g}, {effects.df} df"


def _told(effect: Effect, metric: str) -> str:
    if effect.difference is None:
        return effect.note
    spread = "" if effect.half is None else f" ± {effect.half:.4f}"
    return f"{effect.difference:+.4f}{spread} {metric}{f', {effect.note}' if effect.note else ''}"
