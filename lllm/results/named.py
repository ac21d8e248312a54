"""Runs that `--as` named: which they are, what their command line changed, and the command that makes them again."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lllm.errors import UserError, nearest
from lllm.results.changes import Label, Made, shared, without_repeats
from lllm.results.changes import label as label_of
from lllm.results.files import write_json
from lllm.results.grouping import Expected
from lllm.results.records import Record
from lllm.results.rule import Rule
from lllm.results.run import Run

__all__ = [
    "WORDS",
    "Code",
    "Named",
    "as_filed",
    "check_name",
    "named",
    "newest_arms",
    "recorded_words",
    "rename",
    "semantic_words",
    "words_of",
]

WORDS = "overrides"  # in run.json and runs.jsonl: words of the command line that say what was run
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TUNED = "--tuned"
_FLAGS = ("--dry-run", "--force", "--json", "--keep-stale", _TUNED)  # options of `run` without a value
_PLUGIN = "--plugin"

Code = tuple[str, Mapping[str, Mapping[str, Any]]]  # a code fingerprint and the parts that it is made of


@dataclass(frozen=True)
class Named:
    """The rows of a name, the records they are made from, and what is said of them.

    settings: what all rows change of the file, as typed; labels: (variant, arm) -> what sets it apart from the
    baseline's row; command: what makes them again, one command for each set of changes.
    """

    label: str
    rows: tuple[Expected, ...]
    records: tuple[Record, ...]
    settings: tuple[str, ...]
    labels: Mapping[tuple[str, str], Label]
    command: str


def check_name(label: str) -> str:
    """`label`, refused unless it can be part of a file's name."""
    if not _NAME.fullmatch(label):
        raise UserError(f"--as {label!r}: expected letters, digits, '.', '_' and '-', as in 'frozen'")
    return label


def named(
    records: Sequence[Record],
    label: str,
    variants: Sequence[str],
    baseline: str,
    rule: Rule,
    code: Callable[[Record], Code] = lambda record: ("", {}),
) -> Named:
    """What the arms called `label` make a table of: all their runs, whichever of them got the name. A variant's newest
    arm is its row; others keep a row of theirs. Runs that were moved aside are among the records, and make no row.

    variants: those of the experiment, in its order; code: the code fingerprint that a record's parts have now, '' when
    unknown, and those parts.

    Raises:
        UserError: no run has that name.
    """
    mine = [record for record in records if record.label == label and record.config and not record.aside]
    arms = {(record.variant, record.arm) for record in mine}
    called = [r for r in records if (r.variant, r.arm) in arms and not r.info.get("trial")]
    if not mine:
        known = {record.label for record in records if record.label and not record.aside}
        raise UserError(f"--as {label}: no run has that name{nearest(label, known)}")
    newest = newest_arms(mine)
    found: dict[str, Record] = {}
    seeds: dict[str, set[int]] = defaultdict(set)
    for record in mine:
        if newest[record.variant, label] == record.arm:
            found.setdefault(record.variant, record)
    for record in called:
        if newest[record.variant, label] == record.arm and not record.aside:
            seeds[record.variant].add(record.seed)
    order = [v for v in variants if v in found] + sorted(found.keys() - set(variants))
    asked = tuple(sorted(set().union(*seeds.values())))
    rows = []
    for record in (found[variant] for variant in order):
        digest, parts = code(record)
        is_base, prints = record.variant == baseline, {"code": digest}
        rows.append(Expected(record.variant, record.arm, is_base, rule, asked, prints, record.config, parts))
    made = _made(called)
    common = shared([made[key] for key in dict.fromkeys((r.variant, r.arm) for r in [*found.values(), *mine])])
    newest_made = {row.variant: made[row.variant, row.arm] for row in rows}
    labels = {
        (variant, arm): label_of(one, newest_made.get(baseline), newest_made.get(variant, one), common, arm[:8])
        for (variant, arm), one in made.items()
    }
    command = _commands(found, order, variants, asked)
    return Named(label, tuple(rows), tuple(called), common, labels, command)


def _made(records: Sequence[Record]) -> dict[tuple[str, str], Made]:
    """(variant, arm) -> how it was made."""
    words: dict[tuple[str, str], list[str]] = defaultdict(list)
    configs = {}
    for record in records:
        if record.config:  # which one that was deleted no longer has
            words[record.variant, record.arm] += semantic_words(words_of(record))
            configs[record.variant, record.arm] = record.config
    return {key: Made(configs[key], without_repeats(typed)) for key, typed in words.items()}


def _commands(found: Mapping[str, Record], order: Sequence[str], variants: Sequence[str], seeds: Sequence[int]) -> str:
    """One command for the variants that were made with the same words."""
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for variant in order:
        alike[tuple(words_of(found[variant]))].append(variant)
    commands = []
    for words, some in alike.items():
        record, chosen = found[some[0]], [] if set(some) == set(variants) else some
        options = ["--seeds", ",".join(map(str, seeds)), "--as", record.label]
        commands.append(shlex.join(["lllm", "run", record.experiment, *chosen, *words, *options]))
    return " && ".join(commands)


def newest_arms(records: Sequence[Record]) -> dict[tuple[str, str], str]:
    """(variant, name) -> the arm that carries the name now: that of the newest run."""
    ordered = sorted((r for r in records if r.label), key=lambda r: (r.state == "finished", r.finished_at))
    return {(record.variant, record.label): record.arm for record in ordered}


def words_of(record: Record) -> list[str]:
    """The words of the command line that say what a run is, without those that only say how it is executed."""
    if record.path is None:
        return [str(word) for word in record.info.get(WORDS) or ()]
    info = Run(record.path).info
    words = info.get(WORDS)
    return [str(word) for word in words] if words is not None else _words(info.get("argv") or ())


def semantic_words(words: Sequence[str]) -> list[str]:
    """Those of the form KEY=VALUE that define a run."""
    pairs = zip(["", *words], words, strict=False)
    return [word for before, word in pairs if before != _PLUGIN and "=" in word and not _only_executes(word)]


def as_filed(record: Record) -> bool:
    """Whether it is what the experiment's file says: no word of a command line defines it."""
    try:
        return not semantic_words(words_of(record))
    except UserError:  # a damaged run.json says nothing
        return False


def recorded_words(words: Sequence[str]) -> list[str]:
    """Those of a command line after the experiment's name that `words_of` is to give back."""
    return _words(["run", "", *words])


def rename(record: Record, label: str, words: Sequence[str], extra: Mapping[str, Any] | None = None) -> Record:
    """The record under a name that it got later, in its run.json as well where that is here. extra: what else is said
    of it now."""
    change = {**(extra or {}), "name": label, WORDS: recorded_words(words)}
    if record.path is not None:
        write_json(record.path / "run.json", {**Run(record.path).info, **change})
    return replace(record, info={**record.info, **change})


def _words(argv: Sequence[str]) -> list[str]:
    """From `run EXPERIMENT ...`: plugins, and settings other than those below run."""
    words, rest = [], list(argv[1:])
    while rest:
        word = rest.pop(0)
        if word.startswith("--"):
            option, equals, value = word.partition("=")
            if not equals and option not in _FLAGS and rest:
                value = rest.pop(0)
            if option == _PLUGIN:
                words += [option, value]
            elif option == _TUNED:  # settings that stand in a file of the sweep
                words.append(option)
        elif "=" in word and not _only_executes(word):
            words.append(word)
    return words


def _only_executes(word: str) -> bool:
    from lllm.config.schema import Run as Execution

    top = word.partition("=")[0].strip().split(".")[0]
    return top == "run" or top in Execution.model_fields
