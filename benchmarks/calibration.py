"""How often a table is wrong where nothing differs, and what it finds where something does: simulated tables.

python -m benchmarks.calibration [TABLES]              20,000 tables per cell, if no number is given
python -m benchmarks.calibration --real RESULTS        30 seeds of one tiny variant, trained below RESULTS once (a
                                                       second call continues), dealt at random to the rows of tables

Every cell is the share of tables in which any row is called better or worse: at most 6%, or the exit code is 1, but for
the columns called controls and those where documents err three times as much as seeds. The numbers come from the
functions by which `lllm compare` computes its own (`statistics.family`, `statistics.ratio`).
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lllm.results.noise import read_noise
from lllm.results.statistics.family import Design, design, half_widths
from lllm.results.statistics.power import detectable
from lllm.results.statistics.ratio import half_width
from lllm.results.statistics.sequential import look_level

__all__ = ["LIMIT", "NOISE", "decided", "layout", "looked", "main", "other_documents", "other_seeds", "planted", "real"]

Reals = NDArray[np.float64]

LIMIT = 0.06  # of a cell
LEVEL = 0.95
SEED_SD = 3.0  # of what a seed does to all rows alike, in standard deviations of a run
ROWS, SEEDS = (2, 3, 5, 10, 20), (3, 5, 8)
AT_ONCE = 2_500
REAL_SEEDS = 30
REAL = ["quickstart", "--variant", "parallel", "budget={steps: 60}", "eval.bytes=16384", "run.sample_bytes=8"]

# Standard deviation of a run: of the baseline, of k rows.
NOISE: Mapping[str, tuple[float, Sequence[float]]] = {
    "equal": (1, (1,)),
    "base x2": (2, (1,)),
    "base x3": (3, (1,)),
    "base x5": (5, (1,)),
    "row x3": (1, (3, *(1,) * 19)),
    "row x5": (1, (5, *(1,) * 19)),
    "half x3": (1, (3, 1)),
}


def layout(k: int, n: int, paired: bool) -> Design:
    """Of a baseline and k rows with n seeds each."""
    return design(tuple((row, seed if paired else 0) for row in range(k + 1) for seed in range(n)))


def decided(runs: Reals, of: Design, level: float = LEVEL, documents: float | Reals = 0.0) -> NDArray[np.bool_]:
    """Whether each difference is beyond its interval [tables, k]; runs [tables, k + 1, n]. documents: half widths of
    the intervals over other documents."""
    difference, errors = of.estimate(runs.reshape(len(runs), -1))
    over_seeds = half_widths(errors, level, difference.shape[-1]).max(0)
    beyond: NDArray[np.bool_] = np.abs(difference) > np.hypot(over_seeds, documents)
    return beyond


def drawn(random: np.random.Generator, tables: int, k: int, n: int, noise: str, paired: bool) -> Reals:
    """Runs [tables, k + 1, n] that differ by luck alone."""
    base, rows = NOISE[noise]
    sd = np.array([base, *(rows[i % len(rows)] for i in range(k))])
    runs = sd[:, None] * random.standard_normal((tables, k + 1, n))
    return runs + (SEED_SD * random.standard_normal((tables, 1, n)) if paired else 0.0)


def other_seeds(random: np.random.Generator, tables: int, k: int, n: int, noise: str, paired: bool) -> float:
    """The share of tables that say something of k rows, none of which differs."""
    of = layout(k, n, paired)
    wrong = (decided(drawn(random, size, k, n, noise, paired), of).any(-1).sum() for size in _pieces(tables))
    return sum(map(int, wrong)) / tables


def other_documents(
    random: np.random.Generator, tables: int, k: int, n: int, documents: int, ratio: float = 1.0, corrected: bool = True
) -> float:
    """The same where rows differ on these documents and not on all there are, with `ratio` times the error that seeds
    leave of a row's mean. corrected: the interval over documents holds for all rows at once, as in the tables."""
    of, wrong = layout(k, n, True), 0
    for size in _pieces(tables):
        bytes_TD = np.exp(0.7 * random.standard_normal((size, documents)))
        nats_TKD = np.sqrt(bytes_TD)[:, None] * random.standard_normal((size, k + 1, documents))
        nats_TKD *= (ratio * np.sqrt(bytes_TD.sum(-1)) / math.sqrt(n))[:, None, None]
        runs = drawn(random, size, k, n, "equal", True) + (nats_TKD.sum(-1) / bytes_TD.sum(-1)[:, None])[..., None]
        half = half_width(nats_TKD[:, 1:] - nats_TKD[:, :1], bytes_TD[:, None], LEVEL, k if corrected else 1)
        wrong += int(decided(runs, of, documents=half).any(-1).sum())
    return wrong / tables


def looked(random: np.random.Generator, tables: int, k: int, most: int, counted: bool = True) -> float:
    """The same where seeds are added until something is found, from 2 to `most`. counted: each look has its share of
    the error, as in `lllm run --seeds-until-decided`."""
    wrong = 0
    for size in _pieces(tables):
        runs = drawn(random, size, k, most, "equal", True)
        found = np.zeros(size, bool)
        for n in range(2, most + 1):
            level = look_level(LEVEL, n, most) if counted else LEVEL
            found |= decided(runs[..., :n], layout(k, n, True), level).any(-1)
        wrong += int(found.sum())
    return wrong / tables


def planted(
    random: np.random.Generator, tables: int, k: int, n: int, difference: float, paired: bool
) -> tuple[float, float]:
    """How often the first of k rows is found to differ, which is off by so many standard deviations of a run; and how
    often Dunnett's interval alone finds it."""
    of, hits = layout(k, n, paired), np.zeros(2)
    for size in _pieces(tables):
        runs = drawn(random, size, k, n, "equal", paired)
        runs[:, 1] += difference
        estimate, errors = of.estimate(runs.reshape(size, -1))
        widths = half_widths(errors, LEVEL, k)
        hits += [(np.abs(estimate) > half)[:, 0].sum() for half in (widths.max(0), widths[0])]
    found, pooled = (hits / tables).tolist()
    return found, pooled


def real(results: Path) -> Reals:
    """bpb of 30 seeds of one small variant, trained below `results` where they are not there yet."""
    command = [sys.executable, "-m", "lllm", "noise", *REAL, "--seeds", str(REAL_SEEDS), f"run.results={results}"]
    subprocess.run(command, check=True, stdout=sys.stderr)
    return np.array(max(read_noise(results, REAL[0]).all, key=lambda noise: noise.n).values[:REAL_SEEDS])


def dealt(random: np.random.Generator, tables: int, k: int, n: int, found: Reals) -> float:
    """The share of tables that say something of k rows, where which run is of which row and seed is chance."""
    of, wrong = layout(k, n, True), 0
    for size in _pieces(tables):
        runs = random.permuted(np.tile(found, (size, 1)), axis=1)[:, : (k + 1) * n]
        wrong += int(decided(runs.reshape(size, k + 1, n), of).any(-1).sum())
    return wrong / tables


def _pieces(tables: int) -> Iterator[int]:
    for start in range(0, tables, AT_ONCE):
        yield min(AT_ONCE, tables - start)


def _print(cells: Sequence[float]) -> bool:
    """The end of a line; whether all of it is as it should be."""
    print(*(f"{cell:8.2%}{'!' if cell > LIMIT else ' '}" for cell in cells), flush=True)
    return all(cell <= LIMIT for cell in cells)


def _simulated(tables: int) -> bool:
    random, fine = np.random.default_rng(0), True
    for paired in (True, False):
        print(f"\n{'paired' if paired else 'unpaired'} seeds: some row is called better or worse, of {tables} tables")
        print(f"{'n':>3} {'rows':>4}", *(f"{noise:>9}" for noise in NOISE))
        for n in SEEDS:
            for k in ROWS:
                print(f"{n:3} {k:4}", end=" ")
                fine &= _print([other_seeds(random, tables, k, n, noise, paired) for noise in NOISE])
    print(f"\nother documents, of {tables} tables; controls: the interval over documents is of each row alone")
    print(f"{'their error, in that of the seeds:':>34} {'1x':>8} {'3x':>8} {'control':>8} {'control':>8}")
    for n in (3, 8):
        for documents in (20, 64):
            for k in (1, 2, 5, 20):
                print(f"{n:3} seeds {documents:3} documents {k:3} rows", end=" ")
                how = ((1.0, True), (3.0, True), (1.0, False), (3.0, False))
                cells = [other_documents(random, tables, k, n, documents, *which) for which in how]
                print(*(f"{cell:8.2%}" for cell in cells), flush=True)
                fine &= cells[0] <= LIMIT
    print("\nseeds added until the verdict is in, 2 to 8: looks counted; not counted (a control)")
    for k in (1, 3, 6):
        counted, uncounted = (looked(random, tables, k, 8, how) for how in (True, False))
        print(f"{k:3} rows {counted:8.2%} {uncounted:8.2%}", flush=True)
        fine &= counted <= LIMIT < uncounted
    return fine


def _power(tables: int) -> bool:
    """What is found of a difference, and whether that is what plans say."""
    print(
        "\npower at the difference that a plan says is found so often, and what one variance for all would find there"
    )
    random, fine = np.random.default_rng(1), True
    for paired in (True, False):
        for n in SEEDS:
            for k in (1, 2, 3, 20):
                for said in (0.26, 0.6, 0.8):
                    difference = detectable(1.0, n, k, said, paired=paired) or 0.0
                    found, pooled = planted(random, tables, k, n, difference, paired)
                    seeds = f"{n} {'paired' if paired else 'unpaired'} seeds"
                    print(f"{seeds:>17} {k:3} rows {difference:6.2f} sd {said:6.0%} {found:8.2%} {pooled:8.2%}")
                    fine &= abs(found - said) < 5 * math.sqrt(0.25 / tables) + 0.005
    return fine


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--real"]:
        found, random, fine = real(Path(arguments[1])), np.random.default_rng(2), True
        print(f"{len(found)} real runs of one arm: mean {found.mean():.4f}, standard deviation {found.std(ddof=1):.4f}")
        for k, n in ((1, 15), (1, 5), (5, 5)):
            print(f"{n:3} seeds {k:3} rows", end=" ")
            fine &= _print([dealt(random, 20_000, k, n, found)])
        return 0 if fine else 1
    tables = int(arguments[0]) if arguments else 20_000
    fine = _simulated(tables)
    return 0 if _power(tables) and fine else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
