"""The noise of an arm over seeds: measured once, stored beside its runs, for plans to say what their seeds can find."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lllm.errors import UserError
from lllm.results.files import explained, read_json, write_json
from lllm.results.records import FINGERPRINTS

__all__ = ["LEVEL", "Noise", "Noises", "measured", "read_noise", "write_noise"]

FILE = "noise.json"
LEVEL = 0.95  # of the interval of the standard deviation


@dataclass(frozen=True)
class Noise:
    """Values of the metric by seed, of one arm under one code, data and evaluator. sd: n - 1 in the denominator; low,
    high: its chi^2 interval, which takes runs to be normally distributed."""

    metric: str
    arm: str
    code: str
    data: str
    evaluator: str
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    mean: float
    sd: float
    low: float
    high: float

    @property
    def n(self) -> int:
        """How many seeds."""
        return len(self.seeds)

    def unlike(self, arm: str, fingerprints: Mapping[str, Any], metric: str) -> list[str]:
        """In what it is of another thing than that."""
        asked = {"arm": arm, **{name: fingerprints.get(name) for name in FINGERPRINTS}, "metric": metric}
        return [name for name, value in asked.items() if getattr(self, name) != value]


@dataclass(frozen=True)
class Noises:
    """All that is stored of one experiment: of each arm, code, data, evaluator and metric at most one."""

    all: tuple[Noise, ...] = ()

    def fitting(self, arm: str, fingerprints: Mapping[str, str], metric: str) -> Noise | None:
        """That of an arm under these fingerprints, None where there is none."""
        return next((noise for noise in self.all if not noise.unlike(arm, fingerprints, metric)), None)

    def unused(self, arm: str, fingerprints: Mapping[str, str], metric: str) -> str:
        """Why nothing that is stored is of these; '' where something is, or nothing is stored."""
        nearest = min((noise.unlike(arm, fingerprints, metric) for noise in self.all), key=len, default=[])
        return f"{FILE} is not used, for it is of another {' and '.join(nearest)}" if nearest else ""


def measured(metric: str, arm: str, fingerprints: Mapping[str, str], values: Mapping[int, float]) -> Noise:
    """What the values by seed say.

    Raises:
        ValueError: fewer than two, or one is not finite.
    """
    from scipy.special import chdtri  # imported where something is computed

    seeds = sorted(values)
    found = [float(values[seed]) for seed in seeds]
    if len(found) < 2 or not all(map(math.isfinite, found)):
        raise ValueError(f"{len(found)} values: expected at least two, all of them finite")
    sd, df = statistics.stdev(found), len(found) - 1
    low, high = (sd * math.sqrt(df / float(chdtri(df, tail))) for tail in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    code, data, evaluator = (str(fingerprints.get(name) or "") for name in FINGERPRINTS)
    seen, mean = tuple(found), statistics.fmean(found)
    return Noise(metric, arm, code, data, evaluator, tuple(seeds), seen, mean, sd, low, high)


def read_noise(root: Path, experiment: str) -> Noises:
    """What results/EXPERIMENT/noise.json has. Its spread is computed anew from its values.

    Raises:
        UserError: it is damaged.
    """
    path = root / experiment / FILE
    if not path.is_file():
        return Noises()
    try:
        return Noises(tuple(_noise(entry) for entry in read_json(path)))
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path}: not what `lllm noise` writes ({error}); expected it moved away, its runs are reused"
        ) from None


def write_noise(root: Path, experiment: str, noise: Noise) -> Path:
    """Add it to what is stored, in the place of what was stored of the same; returns the file.

    Raises:
        UserError: the file that is there is damaged, or cannot be written.
    """
    others = [old for old in read_noise(root, experiment).all if old.unlike(noise.arm, vars(noise), noise.metric)]
    path = root / experiment / FILE
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, [asdict(each) for each in (*others, noise)])
    return path


def _noise(entry: Mapping[str, Any]) -> Noise:
    values = dict(zip(map(int, entry["seeds"]), map(float, entry["values"]), strict=True))
    return measured(str(entry["metric"]), str(entry["arm"]), entry, values)
