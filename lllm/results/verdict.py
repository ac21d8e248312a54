"""What may be said of a row against the baseline: better, worse, inconclusive or not comparable, and why."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lllm.results.plans import incomplete
from lllm.results.rows import FamilyFacts, Interval, Row, Verdict, Word
from lllm.results.rule import OF_LIKELIHOOD, Rule

__all__ = ["OVERLAP", "apart", "judge", "other_terms", "refused"]

_TIMED = ("seconds", "bytes_per_second", "generation_bytes_per_second")
_TERMS = {"data": "on other data", "evaluator": "by another evaluator", "code": "with other code of its parts"}
_ALIKE = 0.05  # share within which two sizes, or two amounts of FLOPs, are about equal
OVERLAP = 0.01  # share of the evaluated bytes that may lie in documents more than half of which is in training

_EQUAL = 0.02  # two budgets that agree within this share, and one step of rounding, are equal
_NEAR = 0.2  # within this share two times are about equal, which is said: a machine is not always equally fast


def refused(row: Row, baseline: Row | None, rule: Rule) -> Verdict | None:
    """Why there can be no verdict on `row` by the rule, whatever its numbers; None when there can be one."""
    if row.baseline and not row.stale:
        return Verdict(f"baseline, {_short(row)}" if row.unproven else "baseline", "baseline")
    if row.stale:
        return Verdict("no verdict: stale", "none")
    if row.unproven:
        return Verdict(_short(row), "not causal" if row.unproven.startswith("not causal") else "not probed")
    if not row.runs:
        return Verdict("no verdict: no finished run", "none")
    if baseline is None or not baseline.runs:
        what = "no baseline" if baseline is None else "the baseline has no finished run"
        return Verdict(f"no verdict: {what}", "none")
    if baseline.unproven:
        return Verdict(f"no verdict: the baseline is {_short(baseline)}", "none")
    if reason := apart(row, baseline, rule.metric):
        return Verdict(f"not comparable: {reason}", "not comparable")
    if (inside := row.numbers.get("overlap") or 0.0) > OVERLAP:
        return Verdict(f"validation is in training: {inside:.0%} of its bytes", "none")
    if row.other:
        return Verdict("no verdict: exploratory, not a row of the experiment", "none")
    if not row.values or not baseline.values:
        whose = "" if not row.values else " of the baseline"
        return Verdict(f"no verdict: the results{whose} have no such metric", "none")
    paired = row.values.keys() & baseline.values.keys()
    if (paired or rule.unpaired) and (missing := incomplete(row, baseline, rule)):
        return Verdict(f"no verdict: {missing}", "none")
    if rule.unpaired:
        return None if min(len(row.values), len(baseline.values)) > 1 else Verdict("no verdict: one seed", "none")
    if len(paired) < 2:
        return Verdict("no verdict: one seed" if paired else "no verdict: no seed in common", "none")
    return None


def _short(row: Row) -> str:
    """'not causal' or 'not probed'; the rest is a footnote."""
    return row.unproven.partition(":")[0]


def apart(row: Row, baseline: Row, metric: str) -> str:
    """Why the metric of `row` may not be set against the baseline's, '' when it may."""
    if metric in OF_LIKELIHOOD:
        if not row.kind or row.kind == "none" or baseline.kind == "none":
            return "no likelihood"
        if row.kind != baseline.kind:
            return f"{row.kind} against {baseline.kind}"
    mine, theirs = row.fingerprints, baseline.fingerprints
    data = "documents" if mine.get("documents") and theirs.get("documents") else "data"  # older runs know the latter
    for name in (data, "evaluator", "targets"):
        if mine.get(name) != theirs.get(name):
            return f"other {name}"
    if row.unlike:
        return row.unlike
    equal = terms(row, baseline)
    if equal is None:
        return f"other budget, {_ratios(row, baseline)}"
    timed = metric in _TIMED or "time" in equal
    if timed and len({*row.machines, *baseline.machines}) > 1:
        return "timed on other machines or threads"
    shared = metric in _TIMED and row.shared_timing != baseline.shared_timing
    return "only one of them shared the machine while it was timed" if shared else ""


def terms(row: Row, baseline: Row) -> str | None:
    """The equal budget of the two: '' bytes, 'at equal FLOPs', 'at equal time', 'at 1.10x the time' where as many
    seconds were asked for and nearly as many measured; None: nothing was equal."""
    if _equal(row, baseline, "train_bytes"):
        return ""
    if _equal(row, baseline, "train_flops"):
        return "at equal FLOPs"
    seconds = row.budget.get("seconds")
    if seconds is None or seconds != baseline.budget.get("seconds"):
        return None
    ratio = _ratio(row, baseline, "seconds") or 1.0
    if abs(ratio - 1) <= _EQUAL:
        return "at equal time"
    return f"at {ratio:.2f}x the time" if 1 / (1 + _NEAR) <= ratio <= 1 + _NEAR else None


def judge(
    row: Row,
    baseline: Row,
    interval: Interval,
    family: FamilyFacts,
    rule: Rule,
    decided: bool,
    early: int | None = None,
) -> Verdict:
    """The verdict on a row that has one. decided: its difference is beyond its interval and the floor, at this look or
    an earlier one. early: seeds of the earlier look that decided, where this one does not."""
    equal = terms(row, baseline) or ""
    flops = "" if equal else _unlike(row, baseline, "train_flops", "FLOPs")
    labels = [equal, _unlike(row, baseline, "parameters", "parameters"), flops, _tuning(row, baseline)]
    said = "".join(f" ({label})" for label in labels if label)
    size, floor = abs(interval.difference), rule.floor or 0.0
    if interval.seeds_half == 0 and not floor and size > 0:
        return Verdict("no verdict: all seeds agree exactly, so that their spread is not known", "none")
    if rule.floor is not None and size <= floor:
        return Verdict(f"inconclusive: within the floor{said}", "inconclusive")
    if not decided:
        return Verdict(f"inconclusive: {_more(interval, family, rule)}{said}", "inconclusive")
    lower = interval.difference < 0
    word: Word = "better" if lower == (rule.better == "lower") else "worse"
    when = "" if early is None else f" (decided with {early} seeds)"
    where = "" if interval.documents is None else f" on these {interval.documents} documents"
    return Verdict(f"{word}{where}{when}{said}", word)


def _tuning(row: Row, baseline: Row) -> str:
    """What is to be known about how the two were tuned, '' when both were, equally, on the terms of these runs."""
    if not row.trials:
        return "untuned"
    if not baseline.trials:
        return "the baseline untuned"
    return ", ".join(filter(None, (_counts(row, baseline), _where(row, baseline))))


def other_terms(tuned_on: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """How the terms of trials differ from those of a run at the settings that they found: 'at budget steps=20 and on
    other data'; '' where they are the same, or not known. Both: budget, fingerprints of data, evaluator and code."""
    found = []
    budget = tuned_on.get("budget")
    if budget and own.get("budget") and budget != own["budget"]:
        found.append("at budget " + ", ".join(f"{unit}={amount}" for unit, amount in budget.items()))
    found += [said for name, said in _TERMS.items() if len({tuned_on.get(name), own.get(name)} - {None, ""}) > 1]
    return " and ".join(found)


def _counts(row: Row, baseline: Row) -> str:
    if row.trials != baseline.trials:
        return f"{row.trials} trials against {baseline.trials}"
    mine, theirs = row.trained or row.trials, baseline.trained or baseline.trials
    return f"{row.trials} trials each, {mine} trained against {theirs}" if mine != theirs else ""


def _where(row: Row, baseline: Row) -> str:
    mine, theirs = (other_terms(one.tuned_on, {"budget": one.budget, **one.fingerprints}) for one in (row, baseline))
    if mine == theirs:
        return mine and f"tuned {mine}"
    said = [f"tuned {mine}"] if mine else []
    return ", ".join([*said, f"the baseline {theirs}" if mine else f"the baseline tuned {theirs}"] if theirs else said)


def _more(interval: Interval, family: FamilyFacts, rule: Rule) -> str:
    """What would decide, if the difference is what it seems: how many more seeds, unless it is the documents."""
    from lllm.results.statistics.power import seeds_needed

    size, error = abs(interval.difference), interval.error or 0.0
    seeds, documents = interval.seeds_half or 0.0, interval.documents_half or 0.0
    if size == 0:
        return "no difference"
    if size > seeds or documents > max(size, seeds):
        return "other documents may say otherwise"
    needed = seeds_needed(
        size,
        error * math.sqrt(interval.n / 2),  # a run's spread, by the standard error that this row's interval takes
        family.comparisons,
        rule.power,
        rule.level,
        rule.floor or 0.0,
        rows=family.rows,
        paired=not rule.unpaired,
    )
    if needed is None:
        return "over 1000 seeds would decide"
    more = max(1, needed - interval.n)
    return f"about {more} more {'seeds' if more > 1 else 'seed'} would decide"


def _unlike(row: Row, baseline: Row, name: str, what: str) -> str:
    """'2.15x the parameters' where they are not about equal."""
    ratio = _ratio(row, baseline, name)
    return "" if not ratio or abs(ratio - 1) <= _ALIKE else f"{ratio:.2f}x the {what}"


def _equal(row: Row, baseline: Row, name: str) -> bool:
    """Whether both spent the same; what neither recorded is taken to be equal, and was judged by its fingerprints."""
    mine, theirs = row.numbers.get(name), baseline.numbers.get(name)
    if mine is None or theirs is None:
        return mine is theirs
    steps = [spent / steps for spent, steps in ((mine, row.steps), (theirs, baseline.steps)) if steps]
    return abs(mine - theirs) <= _EQUAL * max(mine, theirs) + max(steps, default=0.0)


def _ratios(row: Row, baseline: Row) -> str:
    """'2.00x the bytes, 1.95x the FLOPs'."""
    timed = {"seconds": "time"} if row.budget.get("seconds") else {}
    names = {"train_bytes": "bytes", "train_flops": "FLOPs", **timed}
    found = ((what, _ratio(row, baseline, name)) for name, what in names.items())
    return ", ".join(f"{ratio:.2f}x the {what}" for what, ratio in found if ratio is not None)


def _ratio(row: Row, baseline: Row, name: str) -> float | None:
    mine, theirs = row.numbers.get(name), baseline.numbers.get(name)
    return mine / theirs if mine is not None and theirs else None
