"""The columns of a table: what each shows of a row, which of them a table has, and the order of its rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from lllm.errors import UserError, nearest
from lllm.results.rows import Comparison, Row
from lllm.results.rule import OF_LIKELIHOOD

__all__ = ["Column", "chosen", "columns_of", "digits", "duration", "si", "sorted_by"]

ABSENT = "-"
_PREFIXES = ("", "k", "M", "G", "T", "P", "E")


Value = Callable[[Row], Any]


@dataclass(frozen=True)
class Column:
    """key: by which --columns and --sort name it; value: of a row, as a script has it; cell: of a row, as it is read;
    right: to which side it is aligned; cost: of what a row cost, not of what it reached; asked: shown only on request;
    always: shown although no row has a value."""

    key: str
    header: str
    value: Value
    cell: Callable[[Row], str]
    right: bool = True
    cost: bool = False
    asked: bool = False
    always: bool = False


def columns_of(comparison: Comparison) -> list[Column]:
    """Every column that the comparison could show, in order."""
    metric, rows = comparison.rule.metric, comparison.rows
    form = ".4f" if metric in OF_LIKELIHOOD else ".4g"
    unmarked = " " if any(row.shared_timing for row in rows) else ""  # keeps the digits in line

    def column(key: str, header: str, value: Value, shown: Callable[[Any], str] = digits, **more: Any) -> Column:
        return Column(key, header, value, lambda row: shown(value(row)), **more)

    def number(key: str, header: str, name: str, shown: Callable[[float | None], str] = si) -> Column:
        return column(key, header, _entry("numbers", name), shown, cost=True)

    def speed(name: str, header: str, shown: Callable[[float | None], str] = si) -> Column:
        def cell(row: Row) -> str:
            text = shown(row.numbers.get(name))
            return text + ("*" if row.shared_timing and text != ABSENT else unmarked)

        return replace(number(name, header, name), cell=cell)

    def of_interval(field: str, header: str, shown: Callable[[float | None], str], **more: Any) -> Column:
        def value(row: Row) -> float | None:
            return getattr(row.interval, field) if row.interval else None

        def cell(row: Row) -> str:
            return "" if row.baseline and not row.stale else shown(value(row))

        return Column(field, header, value, cell, **more)

    metrics = sorted({name for row in rows for name in row.metrics})
    unseen = [metric] if metric not in ("bpb", "nats_per_byte", *metrics) else []  # in no column of its own
    tried = dict.fromkeys(at for row in rows for at in row.sensitivity)
    difference = partial(digits, form=form)
    return [
        Column("variant", "variant", lambda row: row.variant, _name, right=False, always=True),
        Column("seeds", "seeds", lambda row: len(row.seeds), _seeds),
        column("bpb", "bpb", lambda row: row.bpb, always=True),
        column("nats_per_byte", "nats/byte", _exact_nats),
        column("kind", "kind", lambda row: row.kind, lambda kind: kind or ABSENT, right=False),
        *(column(name, name, _entry("metrics", name)) for name in metrics),
        *(column(name, name, _mean, partial(digits, form=".4g")) for name in unseen),
        of_interval("difference", f"Δ {metric}", partial(digits, form=f"+{form}")),
        of_interval("half", "±", difference),
        of_interval("seeds_half", "± seeds", difference, asked=True),
        of_interval("documents_half", "± documents", difference, asked=True),
        of_interval("p", "p", _probability, asked=True),
        number("parameters", "parameters", "parameters"),
        number("bytes", "trained on", "train_bytes", _bytes),
        number("flops", "FLOPs", "train_flops"),
        number("flops_per_byte", "FLOPs/byte", "train_flops_per_byte"),
        speed("seconds", "time", duration),
        speed("bytes_per_second", "bytes/s"),
        speed("generation_bytes_per_second", "gen. bytes/s"),
        Column("trials", "trials", lambda row: row.trials, _trials, cost=True),
        *(column(f"lr_{at}", f"at {at} lr", _entry("sensitivity", at)) for at in tried),
        column("arm", "arm", lambda row: row.arm, lambda arm: arm[:8], right=False, asked=True),
        column("verdict", "verdict", lambda row: row.verdict.text, str, right=False),
    ]


def chosen(comparison: Comparison, keys: Sequence[str] | None = None) -> list[Column]:
    """Those that `keys` name, in that order; None: those that say something, a column without any value is left out.

    Raises:
        UserError: there is no such column.
    """
    every = columns_of(comparison)
    if keys is None:
        return [c for c in every if c.always or (not c.asked and _says_something(c, comparison))]
    return [_column(key, every, "--columns") for key in keys]


def sorted_by(comparison: Comparison, key: str | None) -> Comparison:
    """The comparison with its rows by a column, '-KEY' for the largest first; rows without a value come last. None: as
    they are.

    Raises:
        UserError: there is no such column.
    """
    if key is None:
        return comparison
    column = _column(key.removeprefix("-"), columns_of(comparison), "--sort")
    known = [row for row in comparison.rows if column.value(row) is not None]
    absent = [row for row in comparison.rows if column.value(row) is None]
    ordered = sorted(known, key=column.value, reverse=key.startswith("-"))
    return replace(comparison, rows=(*ordered, *absent))


def digits(value: float | None, form: str = ".4f") -> str:
    """The number in a format, '-' where there is none."""
    return ABSENT if value is None else f"{value:{form}}"


def si(value: float | None) -> str:
    """Three digits and a prefix: '1.31 M', '45.1 k', '812'."""
    if value is None or not math.isfinite(value):
        return ABSENT
    value = float(f"{value:.3g}")
    power = min(max(int(math.log10(abs(value)) // 3), 0), len(_PREFIXES) - 1) if value else 0
    digits = f"{value / 1000**power:#.3g}".rstrip(".")
    return f"{digits} {_PREFIXES[power]}".rstrip() if value else "0"


def duration(seconds: float | None) -> str:
    """'38.2 s', '12.3 min', '3.1 h'."""
    if seconds is None:
        return ABSENT
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _column(key: str, every: Sequence[Column], option: str) -> Column:
    by_name = {c.key: c for c in every} | {c.header: c for c in every}
    if key not in by_name:
        raise UserError(f"{option} {key}: no such column{nearest(key, [c.key for c in every])}")
    return by_name[key]


def _says_something(column: Column, comparison: Comparison) -> bool:
    return any(column.cell(row).strip() not in (ABSENT, "") for row in comparison.rows)


def _name(row: Row) -> str:
    return f"{row.variant} ({row.note})" if row.note else row.variant


def _seeds(row: Row) -> str:
    """How many there are, of how many, and how many of them the difference from the baseline rests on."""
    done = str(len(row.seeds) or ABSENT)
    asked = f" of {len(row.seeds) + len(row.unfinished)}" if row.unfinished else ""
    paired = f", {row.interval.n} paired" if row.interval and row.interval.n != len(row.seeds) else ""
    return done + asked + paired


def _trials(row: Row) -> str:
    different = f" ({row.trained} runs)" if row.trained is not None and row.trained != row.trials else ""
    return f"{row.trials}{different}" if row.runs else ABSENT


def _exact_nats(row: Row) -> float | None:
    return row.numbers.get("nats_per_byte") if row.kind == "exact" else None


def _entry(field: str, name: str) -> Value:
    """What a mapping of the row has under a name."""
    return lambda row: getattr(row, field).get(name)


def _mean(row: Row) -> float | None:
    """Of what decides."""
    return math.fsum(row.values.values()) / len(row.values) if row.values else None


def _bytes(value: float | None) -> str:
    shown = si(value)
    return shown if shown == ABSENT else f"{shown}B" if shown[-1:].isalpha() else f"{shown} B"


def _probability(value: float | None) -> str:
    return "<0.0001" if value is not None and value < 1e-4 else digits(value)
