"""How often a table is wrong, and how often it finds what is there: experiments whose truth is known, by the hundred.

python -m benchmarks.calibration [EXPERIMENTS]           simulated runs, judged as `lllm compare` judges recorded ones
python -m benchmarks.calibration --real RESULTS [SPLITS] 30 seeds of one tiny variant, trained below RESULTS once (a
                                                         second call continues), split at random into paired arms

Prints each rate with the interval in which it is to lie, of 99.9% by the binomial distribution; exit code 1 when one
does not.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrik

from lllm.results.compare import Expected, tabulate
from lllm.results.noise import Noises, measured, read_noise
from lllm.results.records import Record
from lllm.results.rows import Comparison, Row
from lllm.results.rule import Rule
from lllm.results.statistics.power import power_of

__all__ = ["Rate", "counted_looks", "identical", "judged", "main", "planted", "real", "splits"]

Values = NDArray[np.float64]  # [rows, seeds]; the first row is the baseline

SD, SEED_SD = 0.006, 0.02  # of a run around its row and seed, and of what a seed does to all rows alike
WITHIN = 0.999  # of the interval in which a rate is to lie
FINGERPRINTS = {"code": "c", "data": "d", "evaluator": "e"}
REAL_SEEDS = 30
REAL = ["quickstart", "--variant", "parallel", "budget={steps: 60}", "eval.bytes=16384", "run.sample_bytes=8"]


@dataclass(frozen=True)
class Rate:
    """What happened in `hits` of `tries`. expected: how often it should; at_most: whether less often is as good;
    control: a mistake made on purpose, which must happen more often."""

    what: str
    hits: int
    tries: int
    expected: float
    at_most: bool = False
    control: bool = False

    @property
    def bounds(self) -> tuple[int, int]:
        """The fewest and the most hits that are to be expected."""
        tail = (1 - WITHIN) / 2
        low, high = (int(np.ceil(bdtrik(q, self.tries, self.expected))) for q in (tail, 1 - tail))
        return (0 if self.at_most else low), high

    @property
    def fine(self) -> bool:
        """Whether it is."""
        low, high = self.bounds
        return self.hits > high if self.control else low <= self.hits <= high

    def __str__(self) -> str:
        low, high = (bound / self.tries for bound in self.bounds)
        range_ = f"above {high:.2%}, a control" if self.control else f"in {low:.2%} to {high:.2%}"
        return f"{self.what:<68} {self.hits / self.tries:7.2%}  {range_}{'' if self.fine else '  NO'}"


def judged(
    values: Values, looks: int | None = None, noise: Mapping[int, float] | None = None, floor: float | None = None
) -> Comparison:
    """The table of such runs, through what `lllm compare` calls. looks: recorded in them; noise: of the baseline;
    floor: of the rule."""
    names = ["base", *(f"v{i}" for i in range(1, len(values)))]
    records = [
        _record(name, seed, float(bpb), looks)
        for name, row in zip(names, values, strict=True)
        for seed, bpb in enumerate(row)
    ]
    stored = Noises((measured("bpb", "base", FINGERPRINTS, noise),)) if noise else None
    rule = Rule(floor=floor)
    return tabulate(records, "study", [Expected(name, name, name == "base", rule) for name in names], noise=stored)


def _record(variant: str, seed: int, bpb: float, looks: int | None) -> Record:
    info = {"arm": variant, "fingerprints": FINGERPRINTS, "budget": {"steps": 4}, "steps": 4}
    result = {"bpb": bpb, "kind": "exact", "train_bytes": 4096.0, "train_flops": 1e9}
    return Record("study", variant, variant, seed, "finished", {**info, "looks": looks and {"most": looks}}, result)


def simulated(random: np.random.Generator, rows: int, seeds: int, effect: float = 0.0) -> Values:
    """A baseline and `rows` that differ by luck alone; a seed moves all alike, and the first row is off by `effect`."""
    values = 2.5 + random.normal(0, SEED_SD, seeds) + random.normal(0, SD, (1 + rows, seeds))
    values[1] += effect
    return values


def rejects(table: Comparison) -> bool:
    """Whether any row's simultaneous interval excludes 0."""
    return any(_excludes(row, table) for row in table.rows)


def _excludes(row: Row, table: Comparison) -> bool:
    """Whether its simultaneous interval excludes 0."""
    p = row.interval.p if row.interval else None
    return p is not None and p <= 1 - table.rule.level


def claims(table: Comparison) -> bool:
    """Whether any row has a verdict of better or worse."""
    return any(row.verdict.decided for row in table.rows)


def identical(
    draw: Callable[[], Values], tries: int, what: str, noisy: Callable[[], float] | None = None
) -> Iterator[Rate]:
    """Tables in which nothing differs. noisy: draws a run of the baseline, of which eight are stored beforehand."""
    found: dict[str, int] = {"test": 0, "alone": 0, "verdict": 0}
    for _ in range(tries):
        noise = {seed: noisy() for seed in range(8)} if noisy else None
        table = judged(draw(), noise=noise)
        first = table.rows[1].interval
        assert first is not None
        found["test"] += rejects(table)
        found["alone"] += abs(first.difference) > (first.paired_half or 0.0)
        found["verdict"] += claims(table)
    alpha = 1 - table.rule.level
    if not noisy:
        yield Rate(f"{what}: the paired test of one row rejects", found["alone"], tries, alpha)
        yield Rate(f"{what}: some row's interval excludes 0", found["test"], tries, alpha)
    yield Rate(f"{what}: some verdict is 'better' or 'worse'", found["verdict"], tries, alpha, at_most=True)


def planted(random: np.random.Generator, rows: int, seeds: int, effect: float, tries: int) -> Iterator[Rate]:
    """Tables in which the first row differs, and how often its interval says so, and how often the verdict."""
    hits, wrong = 0, 0
    for _ in range(tries):
        table = judged(simulated(random, rows, seeds, effect))
        _, first, *others = table.rows
        hits += _excludes(first, table)
        wrong += first.verdict.word == "better" or any(row.verdict.decided for row in others)
    what = f"{rows + 1} x {seeds}, one row {effect} worse"
    yield Rate(f"{what}: its interval excludes 0", hits, tries, power_of(effect, SD, seeds, rows))
    yield Rate(f"{what}: it is 'better', or another is anything", wrong, tries, 0.05, at_most=True)


def counted_looks(random: np.random.Generator, rows: int, most: int, tries: int) -> Iterator[Rate]:
    """Tables of runs whose seeds were added until the verdict was in; and what would come of looks not counted. Without
    a floor, which alone would leave hardly any claim for the looks to be blamed for."""
    counted, uncounted = 0, 0
    for _ in range(tries):
        values = simulated(random, rows, most)
        counted += claims(judged(values, looks=most, floor=0.0))
        uncounted += any(rejects(judged(values[:, :n])) for n in range(2, most + 1))
    what = f"{rows + 1} x 2 to {most} seeds"
    yield Rate(f"{what}, looks counted: some verdict is 'better' or 'worse'", counted, tries, 0.05, at_most=True)
    yield Rate(f"{what}, looks not counted: some interval excludes 0", uncounted, tries, 0.05, control=True)


def splits(random: np.random.Generator, found: Values, rows: int, seeds: int) -> Callable[[], Values]:
    """Draws a table from runs of one arm: which run is of which row and seed is chance."""
    return lambda: random.permutation(found)[: (1 + rows) * seeds].reshape(1 + rows, seeds)


def real(results: Path) -> Values:
    """bpb of 30 seeds of one small variant, trained below `results` where they are not there yet."""
    command = [sys.executable, "-m", "lllm", "noise", *REAL, "--seeds", str(REAL_SEEDS), f"run.results={results}"]
    subprocess.run(command, check=True, stdout=sys.stderr)
    return np.array(max(read_noise(results, REAL[0]).all, key=lambda noise: noise.n).values[:REAL_SEEDS])


def _simulations(tries: int) -> Iterator[Rate]:
    random = np.random.default_rng(0)
    for rows, seeds in ((1, 3), (3, 3), (6, 3), (3, 8)):
        what = f"{rows + 1} x {seeds}, nothing differs"
        yield from identical(partial(simulated, random, rows, seeds), tries, what)
    yield from identical(
        partial(simulated, random, 3, 3), tries, "4 x 3, floor of 8 stored seeds", lambda: float(random.normal(2.5, SD))
    )
    for rows, seeds, effect in ((1, 5, 0.015), (3, 3, 0.02), (6, 3, 0.02), (3, 8, 0.01)):
        yield from planted(random, rows, seeds, effect, tries)
    yield from counted_looks(random, 3, 6, tries)


def _of_real_runs(results: Path, tries: int) -> Iterator[Rate]:
    found, random = real(results), np.random.default_rng(1)
    print(f"{len(found)} real runs of one arm: mean {found.mean():.4f}, standard deviation {found.std(ddof=1):.4f}")
    for rows, seeds in ((1, 15), (1, 5), (5, 5)):
        what = f"{rows + 1} x {seeds} of real runs"
        yield from identical(splits(random, found, rows, seeds), tries, what)


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--real"]:
        rates = _of_real_runs(Path(arguments[1]), int(arguments[2]) if len(arguments) > 2 else 1000)
    else:
        rates = _simulations(int(arguments[0]) if arguments else 1000)
    fine = True
    for rate in rates:
        print(rate, flush=True)
        fine = fine and rate.fine
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
