"""`lllm run --seeds-until-decided`: seed after seed of every variant, until the verdict is in; every look counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from lllm.config import Experiment
from lllm.errors import UserError
from lllm.launch.arms import Arms
from lllm.launch.plan import Plan, expected
from lllm.results.committed import load_records
from lllm.results.compare import Comparison, Row, tabulate
from lllm.results.records import Record
from lllm.results.run import Run
from lllm.results.statistics.sequential import look_level

__all__ = ["Look", "judging", "looking", "seeds_until", "until_decided"]

Judge = Callable[[Sequence[int]], "Comparison"]
_MOST = 1000


@dataclass(frozen=True)
class Look:
    """What was seen with n seeds: rows that are decided, whose interval lies within the rule's floor, that no seed can
    decide, and that are open; variant -> what is said of it. level: of the simultaneous intervals of this look."""

    n: int
    level: float
    decided: Mapping[str, str]
    within: Mapping[str, str]
    refused: Mapping[str, str]
    open: Mapping[str, str]

    @property
    def done(self) -> bool:
        """Whether no more seeds are wanted."""
        return not self.open


def seeds_until(experiment: Experiment, most: int) -> list[int]:
    """The experiment's seeds first, then the numbers after them: `most` in all, in ascending order, in which they are
    looked at.

    Raises:
        UserError: fewer than two.
    """
    if not 2 <= most <= _MOST:
        raise UserError(f"--seeds-until-decided {most}: expected from 2 to {_MOST} seeds; one has no spread")
    own = sorted(experiment.seeds)
    return [*own, *range(own[-1] + 1, own[-1] + 1 + most)][:most]


def looking(plan: Plan, most: int) -> Plan:
    """The plan whose runs say that they are looked at one seed after another.

    Raises:
        UserError: it compares nothing, or what is there may have been judged already under another rule.
    """
    variants = {run.arm.variant for run in plan.runs}
    if plan.experiment.baseline not in variants or len(variants) < 2:
        raise UserError(
            f"--seeds-until-decided {most}: nothing to decide between {', '.join(sorted(variants))}; "
            f"expected the baseline '{plan.experiment.baseline}' and another variant"
        )
    _refuse_looked_at(plan, load_records(plan.results, plan.experiment.name), most)
    return replace(plan, extra={**plan.extra, "looks": {"most": most}})


def _refuse_looked_at(plan: Plan, records: Sequence[Record], most: int) -> None:
    """A verdict that could be had already, under another rule, has had its chance of a false finding: seeds added until
    it changes would be one chance more, whatever is spent from now on. A single seed was no such look, if this rule has
    a place for it; nor was any trial of a sweep, which is no evidence.
    """
    arms = {(run.arm.variant, run.arm.identity): run.arm for run in plan.runs}
    rule_of_run: dict[str, dict[int, int]] = {}
    for record in records:
        arm = arms.get((record.variant, record.arm))
        judged = record.state in ("finished", "deleted") and not record.aside  # what was deleted has been looked at
        if arm is None or not judged or record.info.get("trial"):
            continue
        if all(record.fingerprint(name) == arm.fingerprints[name] for name in ("code", "data", "evaluator")):
            looks = record.info.get("looks") or {}
            rule_of_run.setdefault(record.variant, {})[record.seed] = int(looks.get("most", 0))
    planned = {run.seed for run in plan.runs}
    base = rule_of_run.pop(plan.experiment.baseline, {})
    for variant, rules in rule_of_run.items():
        other = {seed: rule for seed, rule in sorted(rules.items()) if seed in base and rule != most}
        if len(other) < 2 and planned.issuperset(other):
            continue
        before = max(other.values())
        how = f"under --seeds-until-decided {before}" if before else "without it"
        said = f"seed{'s' if len(other) > 1 else ''} {', '.join(map(str, other))}"
        raise UserError(
            f"--seeds-until-decided {most}: {said} of '{variant}' and of the baseline were trained {how}, and "
            f"may have been judged already; expected {f'{before}, or ' if before else ''}a number fixed beforehand, as "
            "in --seeds 0,1,2,3,4"
        )


def until_decided(
    plan: Plan, most: int, level: float, train: Callable[[Plan], bool], judge: Judge
) -> tuple[Plan, bool, dict[str, Any]]:
    """Train and look until all is decided. train(plan of one seed) -> whether nothing failed; judge(seeds) -> the
    comparison of these seeds alone.

    Returns the plan of what was trained, whether nothing failed, and as plain values the looks and why it stopped.
    """
    seeds = list(dict.fromkeys(run.seed for run in plan.runs))
    looks: list[Look] = []
    fine, stopped, used = True, "", 0
    print(
        f"seed after seed until every row is decided, at most {most}. Each look has its share of the error (alpha "
        f"spending, O'Brien-Fleming type): all looks together are wrong in at most {1 - level:.2%} of such experiments"
    )
    for used, seed in enumerate(seeds, start=1):
        column = replace(plan, runs=tuple(run for run in plan.runs if run.seed == seed))
        fine = train(column) if column.pending else all(run.todo == "finished" for run in column.runs)
        if missing := _unfinished(column):
            stopped = f"not finished: {', '.join(missing)}"
            break
        if used < 2:
            continue
        looks.append(_look(judge(seeds[:used]), used, most, level))
        _say(looks[-1], most)
        if looks[-1].done:
            stopped = _reason(looks[-1])
            break
    else:
        stopped = f"{most} seeds were the most; still open: {', '.join(looks[-1].open)}"
    print(f"stopped after {used} {'seeds' if used > 1 else 'seed'}: {stopped}")
    trained = replace(plan, runs=tuple(run for run in plan.runs if run.seed in seeds[:used]))
    return trained, fine, {"looks": [asdict(look) for look in looks], "stopped": stopped}


def judging(plan: Plan, arms: Arms, variants: Sequence[str]) -> Judge:
    """How the tables judge some seeds alone: what other seeds there are is not looked at."""
    name = plan.experiment.name

    def judge(seeds: Sequence[int]) -> Comparison:
        records = [record for record in load_records(plan.results, name) if record.seed in seeds]
        return tabulate(records, name, expected(arms, variants, seeds))

    return judge


def _look(comparison: Comparison, n: int, most: int, level: float) -> Look:
    found: dict[str, dict[str, str]] = {"decided": {}, "within": {}, "refused": {}, "open": {}}
    for row in comparison.rows:
        if not row.baseline and not row.stale:
            found[_where(row, comparison)][row.variant] = _said(row)
    return Look(n, look_level(level, n, most), **found)


def _where(row: Row, comparison: Comparison) -> str:
    """Under which heading of a look the row comes."""
    if row.verdict.decided:
        return "decided"
    if comparison.family is None:  # too few runs so far
        return "open"
    if row.verdict.word != "inconclusive":
        return "refused"
    floor, interval = comparison.rule.floor or 0.0, row.interval
    if interval is not None and interval.half is not None and abs(interval.difference) + interval.half <= floor:
        return "within"
    return "open"


def _said(row: Row) -> str:
    if row.interval is None or row.interval.half is None:
        return row.verdict.text
    return f"{row.verdict.text}, {row.interval.difference:+.4f} ± {row.interval.half:.4f}"


def _say(look: Look, most: int) -> None:
    print(f"look with {look.n} of at most {most} seeds, intervals at level {look.level:.4%}:")
    for word, rows in (("decided", look.decided), ("within the floor", look.within), ("open", look.open)):
        for variant, said in rows.items():
            print(f"  {variant}: {word}: {said}")
    for variant, said in look.refused.items():
        print(f"  {variant}: {said}")


def _reason(look: Look) -> str:
    told = [("decided", look.decided), ("within the floor", look.within), ("never to be decided", look.refused)]
    return "; ".join(f"{what}: {', '.join(rows)}" for what, rows in told if rows)


def _unfinished(plan: Plan) -> list[str]:
    """Runs that are not, and in which state they are: another process may be at work on one."""
    there = [(run.name, Run(run.path)) for run in plan.runs if run.todo != "finished"]
    return [f"{name} ({run.state})" for name, run in there if not run.finished]
