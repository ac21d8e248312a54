"""The noise of an experiment's baseline over seeds: stored once, reused by fingerprint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lllm.errors import UserError
from lllm.results.files import read_json

__all__ = ["Noise", "Noises", "read_noise"]

FILE = "noise.json"


@dataclass(frozen=True)
class Noise:
    """Values of the metric by seed, of one arm under one code, data and evaluator; sd: n - 1 in the denominator."""

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

    def fits(self, arm: str, fingerprints: Mapping[str, str]) -> bool:
        """Whether it was measured of just that."""
        return self.arm == arm and all(
            getattr(self, name) == fingerprints.get(name) for name in ("code", "data", "evaluator")
        )


@dataclass(frozen=True)
class Noises:
    """All that is stored of one experiment."""

    all: tuple[Noise, ...] = ()

    def fitting(self, arm: str, fingerprints: Mapping[str, str]) -> Noise | None:
        """That of an arm under these fingerprints, None where there is none."""
        return next((noise for noise in self.all if noise.fits(arm, fingerprints)), None)


def read_noise(root: Path, experiment: str) -> Noises:
    """What results/EXPERIMENT/noise.json has.

    Raises:
        UserError: it is damaged.
    """
    path = root / experiment / FILE
    if not path.is_file():
        return Noises()
    try:
        return Noises(
            tuple(
                Noise(**{**entry, "seeds": tuple(entry["seeds"]), "values": tuple(entry["values"])})
                for entry in read_json(path)
            )
        )
    except (TypeError, KeyError) as error:
        raise UserError(f"{path}: not the noise of a baseline ({error}); the file is damaged") from None
