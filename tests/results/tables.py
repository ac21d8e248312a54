"""Tables of planted runs, and what they say."""

from __future__ import annotations

from typing import Any

from lllm.results.compare import Expected
from lllm.results.rows import Comparison, Row
from lllm.results.rule import Rule
from tests.results.conftest import MakeRun, arm

BASE = (2.50, 2.51, 2.49, 2.50)
SLIGHT = (0.002, -0.001, 0.001, -0.002)  # noise of a row around the baseline and its seed


def rows_of(*variants: str, rule: Rule = Rule()) -> list[Expected]:
    return [Expected(name, arm(name), i == 0, rule) for i, name in enumerate(variants)]


def fill(make_run: MakeRun, shifts: dict[str, float], seeds: int = 4, **changes: Any) -> None:
    """A baseline, and variants that differ from it by a shift and a little noise."""
    for seed in range(seeds):
        make_run("base", seed, BASE[seed], **changes)
        for i, (variant, shift) in enumerate(shifts.items()):
            make_run(variant, seed, BASE[seed] + shift + SLIGHT[(seed + i) % 4], **changes)


def found(comparison: Comparison, variant: str) -> Row:
    return next(row for row in comparison.rows if row.variant == variant)


def texts(comparison: Comparison) -> dict[str, str]:
    return {row.variant: row.verdict.text for row in comparison.rows}
