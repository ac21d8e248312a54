"""The table of an experiment: one row per variant as the file defines it now, from runs that may share a row."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path

from lllm.errors import UserError
from lllm.results.committed import load_records, write_committed
from lllm.results.documents import Blocks, blocks_of
from lllm.results.effects import effects_of
from lllm.results.evidence import sifted
from lllm.results.grouping import PLATFORM, Expected, differs, groups, is_current, stale, terms_of
from lllm.results.judging import judged
from lllm.results.named import Named, newest_arms
from lllm.results.plans import added, changed, enlarged, planned, steady, without
from lllm.results.records import FINGERPRINTS, Record, mapping, real
from lllm.results.rows import NUMBERS, Comparison, Row
from lllm.results.rule import BPB, Rule

__all__ = ["Comparison", "Expected", "Row", "compare", "publish", "publish_named", "tabulate", "tabulate_named"]


def compare(root: Path, experiment: str, rows: Sequence[Expected], all_runs: bool = False) -> Comparison:
    """The comparison of the runs below `root` with what the experiment file expects now."""
    return tabulate(load_records(root, experiment), experiment, rows, all_runs)


def tabulate(
    records: Sequence[Record],
    experiment: str,
    rows: Sequence[Expected],
    all_runs: bool = False,
) -> Comparison:
    """`compare` of records at hand: those of one experiment. A directory that was moved aside is in no row."""
    by_arm: dict[tuple[str, str], list[Record]] = defaultdict(list)
    others: dict[tuple[str, str], list[Record]] = defaultdict(list)
    begun: dict[str, list[Record]] = defaultdict(list)
    wanted = {(expected.variant, expected.arm) for expected in rows}
    for record in records:
        if not record.info.get("trial"):
            begun[record.arm].append(record)
        if record.aside:  # what made room for another run is no evidence
            continue
        # a trial chose the settings by its seed: it is no evidence for them, even where it is the variant as it stands
        own = (record.variant, record.arm) in wanted and not record.info.get("trial")
        (by_arm if own else others)[record.variant, record.arm].append(record)
    base = next((expected for expected in rows if expected.baseline), None)
    rule = enlarged(base.rule, base, records) if base else BPB
    asked = tuple(sorted({record.seed for key in wanted for record in by_arm.get(key, [])}))
    table: list[Row] = []
    current: dict[str, Record] = {}
    for expected in rows:
        place = expected.variant, expected.arm
        tried = {record.seed for record in others.get(place, []) if record.state == "finished"}
        made, stands_for_it = _variant_rows(by_arm.get(place, []), expected, asked, tried, begun[expected.arm])
        table += made
        if stands_for_it:
            current[expected.variant] = stands_for_it
    if all_runs:
        table += _other_rows(others, rows, current, rule)
    hidden = 0 if all_runs else sum(record.state == "finished" for group in others.values() for record in group)
    names = () if all_runs else tuple(sorted({r.label for group in others.values() for r in group if r.label}))
    warnings = [*added(table, records), *changed(table, records, rule), *_platforms(table)]
    if lost := {seed for row in table if row.baseline and not row.stale for seed in row.diverged}:
        table = without(table, lost)
        which = f"Seed{'s' if len(lost) > 1 else ''} {', '.join(map(str, sorted(lost)))}"
        warnings.append(f"{which} of the baseline diverged: left out of every comparison.")
    comparison = Comparison(experiment, rule, tuple(table), hidden=hidden, names=names, warnings=tuple(warnings))
    return _judged(comparison, records)


def publish(
    root: Path,
    experiment: str,
    rows: Sequence[Expected],
    records: Sequence[Record] | None = None,
    shown: Comparison | None = None,
) -> Path | None:
    """Write runs.jsonl and table.md, and return the table's path, None when there is nothing to write.

    The table has the rows of the file; committed are the runs that they average, and those that `--as` named. records,
    shown: what is there, and its table, where they are at hand.

    Raises:
        UserError: the directory cannot be written.
    """
    from lllm.results.table import write_markdown

    found = load_records(root, experiment) if records is None else records
    comparison = shown or tabulate(found, experiment, rows)
    carried = newest_arms(found)
    arms = {(row.variant, row.arm) for row in comparison.rows}
    arms |= {(r.variant, r.arm) for r in found if r.label and carried[r.variant, r.label] == r.arm}
    return write_markdown(root, comparison) if _kept(root, experiment, found, arms) else None


def _kept(root: Path, experiment: str, found: Sequence[Record], arms: Collection[tuple[str, str]]) -> bool:
    """Commit the runs of these arms, and how those stand that did not finish, but for those that are not believed;
    False where none has finished."""
    mine = [r for r in found if (r.variant, r.arm) in arms and not r.aside and not r.info.get("trial")]
    sound, _ = sifted(mine)
    if not sound:
        return False
    write_committed(root, experiment, [*sound, *(r for r in mine if r.state not in ("finished", "empty"))])
    return True


def tabulate_named(experiment: str, runs: Named) -> Comparison:
    """The comparison of runs that have one name, whatever the file says now."""
    made = tabulate(runs.records, experiment, runs.rows, all_runs=True)
    rows = []
    for row in made.rows:
        label = runs.labels[row.variant, row.arm]
        note = "; ".join(filter(None, (label.note, row.note if row.stale else "")))
        rows.append(replace(row, note=note, unlike=label.unlike))
    said = replace(made, rows=tuple(rows), label=runs.label, settings=runs.settings, command=runs.command)
    return _judged(said, runs.records)


def publish_named(root: Path, experiment: str, runs: Named) -> Path | None:
    """Write runs.jsonl and table.NAME.md of runs that have one name; returns and errors as in `publish`."""
    from lllm.results.table import write_markdown

    arms = {(row.variant, row.arm) for row in runs.rows}
    if not _kept(root, experiment, runs.records, arms):
        return None
    return write_markdown(root, tabulate_named(experiment, runs))


def _platforms(table: Sequence[Row]) -> list[str]:
    """That the rows were made by more than one state of lllm's own code, and which by which."""
    made: dict[str, list[str]] = defaultdict(list)
    for row in table:
        if row.runs and not (row.stale or row.other):
            made[row.fingerprints[PLATFORM]].append(row.variant)
    if len(made) < 2:
        return []
    told = "; ".join(f"{platform[:8] or 'not recorded'}: {', '.join(names)}" for platform, names in made.items())
    return [f"These rows were made by {len(made)} states of lllm's own code ({told})."]


def _variant_rows(
    records: Sequence[Record],
    expected: Expected,
    asked: tuple[int, ...],
    tried: AbstractSet[int],
    begun: Sequence[Record],
) -> tuple[list[Row], Record | None]:
    """The row of a variant, complete or not, then one per stale group; and a record that stands for the first. tried:
    seeds at which a sweep has trained it; begun: every run of its arm, under any name."""
    sound, refused = sifted(records)
    finished = groups(sound)
    fresh = next((group for group in finished if is_current(group, expected)), [])
    first = fresh[0] if fresh else None
    done = {record.seed for record in fresh}
    mine = [record for record in begun if is_current([record], expected)]
    if first is not None:
        mine = [r for r in mine if all(r.fingerprint(name) == first.fingerprint(name) for name in FINGERPRINTS)]
    seeds = planned(mine)
    wanted = sorted({*(expected.seeds or asked), *seeds})
    missing = _unfinished(records, [seed for seed in wanted if seed not in done]) | refused
    missing |= {r.seed: "other code of lllm's own" for r in sound if r.seed in missing and is_current([r], expected)}
    ended = [r for r in mine if r.state != "finished" and r.info.get("probe") and not r.aside]  # by its first probe
    diverged = {r.seed for r in mine if r.state == "diverged" and r.variant == expected.variant and not r.aside}
    row = replace(
        _row(fresh, expected.variant, expected.arm, expected.rule),
        unproven=_unproven([*ended, *fresh]),
        baseline=expected.baseline,
        unfinished={seed: "a sweep's trial" if seed in tried else state for seed, state in missing.items()},
        planned=seeds,
        diverged=tuple(sorted(diverged - done)),
    )
    made = [row]
    for group in finished:
        if group is not fresh:
            old = _row(group, expected.variant, expected.arm, expected.rule)
            note = stale(group[0], first, expected)
            if any(note == other.note for other in made):
                note += f" (code {group[0].fingerprint('code')[:8]})"
            made.append(replace(old, stale=True, note=note))
    return made, first


def _unfinished(records: Sequence[Record], missing: Sequence[int]) -> dict[int, str]:
    """seed -> in which state it is and why."""
    state = {
        record.seed: f"{record.state}: {record.reason}" if record.reason else str(record.state)
        for record in records
        if record.state not in ("finished", "empty")
    }
    return {seed: state.get(seed, "not run") for seed in missing}


def _other_rows(
    others: Mapping[tuple[str, str], Sequence[Record]],
    rows: Sequence[Expected],
    current: Mapping[str, Record],
    rule: Rule,
) -> list[Row]:
    """Arms that the file does not define now, labelled by what differs, in the order of their variants."""
    defined = {expected.variant: (place, expected) for place, expected in enumerate(rows)}
    made = []
    for (variant, arm), records in others.items():
        place, expected = defined.get(variant, (len(rows), None))
        for group in groups(sifted(records)[0]):
            note = differs(group[0], expected, current.get(variant))
            made.append((place, variant, note, arm, _row(group, variant, arm, rule)))
    return [replace(row, note=note, other=True) for _, _, note, _, row in sorted(made, key=lambda item: item[:4])]


def _row(group: Sequence[Record], variant: str, arm: str, rule: Rule) -> Row:
    """The means of records that may be averaged."""
    if not group:
        return Row(variant, arm)
    first, results = group[0], [record.result or {} for record in group]
    tuned, probes = ([record.section(name) for record in group] for name in ("tuned", "probe"))
    machines = [on for record in group if {"device", "threads"} <= (on := record.section("machine")).keys()]
    return Row(
        variant,
        arm,
        seeds=tuple(record.seed for record in group),
        kind=str(results[0].get("kind") or ""),
        bpb=_mean(record.number("bpb") for record in group),
        values={record.seed: value for record in group if (value := record.value(rule.metric)) is not None},
        numbers={name: _mean(record.number(name) for record in group) for name in NUMBERS},
        metrics={  # in the order of names: files say nothing of another
            name: _mean(real(record.metrics.get(name)) for record in group)
            for name in sorted({name for record in group for name in record.metrics})
        },
        trials=min(int(one.get("trials", 0)) for one in tuned),
        trained=tuned[0].get("trained"),
        tuned_on=mapping(tuned[0].get("terms")),
        sensitivity=mapping(tuned[0].get("sensitivity")),
        budget=first.section("budget"),
        steps=first.info.get("steps"),
        machines=tuple(sorted({f"{on['device']}, {on['threads']} threads" for on in machines})),
        looks=max(int(record.section("looks").get("most", 0)) for record in group) or None,
        shared_timing=any(result.get("shared_timing") for result in results),
        unproven=_unproven(group),
        drawn=all(probe.get("drawn") is not False for probe in probes),
        deviation=max(real(probe.get("largest")) or 0.0 for probe in probes),
        fingerprints=terms_of(first),
        runs=tuple(record.name for record in group),
    )


def _unproven(group: Sequence[Record]) -> str:
    probes = {record.seed: record.section("probe") for record in group}
    for seed, found in probes.items():
        if found and found.get("passed") is not True:
            return f"not causal: seed {seed}, {found.get('text') or 'its probe covers no position'}"
    missing = [str(seed) for seed, found in probes.items() if not found]
    return f"not probed: seed{'s' if len(missing) > 1 else ''} {', '.join(missing)}" if missing else ""


def _judged(comparison: Comparison, records: Sequence[Record]) -> Comparison:
    """With intervals and verdicts."""
    by_name = {record.name: record for record in records}
    damaged: dict[str, str] = {}

    def blocks(row: Row) -> dict[int, Blocks]:
        found = {}
        for seed, name in zip(row.seeds, row.runs, strict=True):
            try:
                found[seed] = blocks_of(by_name[name])
            except UserError as error:  # no reason to hide the table
                damaged[name] = str(error)
        return {seed: pieces for seed, pieces in found.items() if pieces is not None}

    made = judged(comparison.rows, comparison.rule, blocks)
    baseline = next((row for row in comparison.rows if row.baseline and not row.stale), None)
    rows = tuple(steady(row, baseline, comparison.rule) for row in made.rows)
    used = {name for row in rows for name in row.runs}
    begun = max((int(r.info.get("comparisons") or 0) for r in records if r.name in used), default=0)
    surviving = {row.variant for row in rows if row.verdict.decided and not (row.stale or row.other)}
    if made.family and begun > made.family.comparisons and surviving:  # this table's share of the error
        share = made.family.comparisons / begun
        strict = replace(comparison.rule, level=1 - (1 - comparison.rule.level) * share)
        again = judged(comparison.rows, strict, blocks).rows
        surviving &= {row.variant for row in again if row.verdict.decided}
    return replace(
        comparison,
        rows=rows,
        begun=begun,
        surviving=tuple(row.variant for row in rows if row.variant in surviving),
        family=made.family,
        effects=effects_of(made, comparison.rule),
        warnings=(*comparison.warnings, *(f"Not read: {problem}." for problem in damaged.values())),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    """Of the runs that have a value."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
