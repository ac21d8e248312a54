"""What the deltas of a designed experiment do: effects from the rows of its table, told below it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from lllm.results.rows import Effect, Effects, Row
from lllm.results.rule import Design, Rule
from lllm.results.verdict import apart

__all__ = ["effects_markdown", "effects_of", "effects_text"]


def effects_of(rows: Sequence[Row], design: Design | None, rule: Rule) -> Effects | None:
    """Effects of the design's deltas, from the rows of the table that are its variants as defined now; None without a
    design. rule.level: of the simultaneous intervals (after several looks at the data, the last look's)."""
    if design is None:
        return None
    current: dict[str, Row] = {}
    for row in rows:
        if row.variant in design.of and not row.stale and not row.other:
            current.setdefault(row.variant, row)
    why = {variant: _unfit(variant, current, next(iter(design.of)), rule.metric) for variant in design.of}
    values = {variant: current[variant].values for variant in design.of if not why[variant]}
    if design.kind == "full_factorial":
        return _factorial(design, values, why, rule)
    return _one_by_one(design, values, why, rule)


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
        cells = [f"{effect.name}{f' ({effect.note})' if effect.note else ''}"]
        cells += ["" if value is None else form.format(value) for value, form in _numbers(effect)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _unfit(variant: str, current: Mapping[str, Row], reference: str, metric: str) -> str:
    """Why the variant's numbers may not be used, '' when they may."""
    row = current.get(variant)
    if row is None or not row.values:
        return f"{variant} has no finished run"
    base = current.get(reference)
    reason = apart(row, base, metric) if base is not None and base.values else ""
    return f"{variant} is not comparable with {reference} ({reason})" if reason else ""


def _factorial(
    design: Design, values: Mapping[str, Mapping[int, float]], why: Mapping[str, str], rule: Rule
) -> Effects:
    from lllm.results.statistics.factorial import factorial  # scipy is imported where something is computed

    missing = [reason for reason in why.values() if reason]
    if missing:
        more = f", and so for {len(missing) - 1} more" if len(missing) > 1 else ""
        return Effects(design.kind, rule.metric, rule.level, reason=f"{missing[0]}{more}")
    try:
        found = factorial(values, design.of, design.factors, rule.level)
    except ValueError as error:
        return Effects(design.kind, rule.metric, rule.level, reason=str(error))
    note = "no interval: too few runs to estimate their spread" if found.sd is None else ""
    effects = []
    for one in found.effects:
        name = f"main effect of {one.factors[0]}" if len(one.factors) == 1 else f"interaction {' x '.join(one.factors)}"
        effects.append(Effect(name, one.factors, one.difference, one.half, one.p, note))
    return Effects(design.kind, rule.metric, rule.level, tuple(effects), found.sd, found.df)


def _one_by_one(
    design: Design, values: Mapping[str, Mapping[int, float]], why: Mapping[str, str], rule: Rule
) -> Effects:
    """Each row minus the reference: what is missed without a delta, or what it brings alone."""
    from lllm.results.statistics.family import compare_all

    reference, *others = design.of
    if reference not in values:
        return Effects(design.kind, rule.metric, rule.level, reason=why[reference])
    family = compare_all(values, reference, rule.level)
    effects = []
    for variant, factor in zip(others, design.factors, strict=True):
        name = f"{'without' if design.kind == 'leave_one_out' else 'with'} {factor}"
        shared = sorted(values.get(variant, {}).keys() & values[reference].keys())
        if not shared:
            note = why[variant] or f"{variant} shares no seed with {reference}"
            effects.append(Effect(name, (factor,), note=note))
        elif family is None:
            gap = statistics.fmean(values[variant][seed] - values[reference][seed] for seed in shared)
            note = "no interval: too few runs to estimate their spread"
            effects.append(Effect(name, (factor,), gap, note=note))
        else:
            one = family.comparisons[variant]
            effects.append(Effect(name, (factor,), one.difference, one.half, one.p))
    sd, df = (family.sd, family.df) if family else (None, 0)
    return Effects(design.kind, rule.metric, rule.level, tuple(effects), sd, df)


def _called(effects: Effects) -> str:
    return effects.kind.replace("_", " ")


def _heading(effects: Effects) -> str:
    """What the numbers are, and how sure."""
    what = {
        "full_factorial": "effects on average over the other deltas; interaction: half of what one adds to the other's",
        "leave_one_out": "each delta left out of all",
        "add_one_in": "each delta alone",
    }[effects.kind]
    told = len([effect for effect in effects.effects if effect.half is not None])
    sure = f"; ± {effects.level:.4g} confidence of {told} at once, sd {effects.sd:.4g}, {effects.df} df" if told else ""
    return f"{_called(effects)}: {what}{sure}"


def _told(effect: Effect, metric: str) -> str:
    if effect.difference is None:
        return effect.note
    if effect.half is None:
        return f"{effect.difference:+.4f} {metric} ({effect.note})"
    unsure = "" if abs(effect.difference) > effect.half else ", not told from none"
    return f"{effect.difference:+.4f} ± {effect.half:.4f} {metric}{unsure}"


def _numbers(effect: Effect) -> list[tuple[float | None, str]]:
    return [(effect.difference, "{:+.4f}"), (effect.half, "{:.4f}"), (effect.p, "{:.3g}")]
