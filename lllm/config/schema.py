"""The platform's own settings: typed, strict, immutable. A field without a default here is one that the user must give.

Part nodes (a mixer, an optimizer) stand among these sections in a file but are validated by the part that they name.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator, model_validator

from lllm.registry.config import PartConfig

__all__ = ["SPEEDS", "Budget", "Data", "Decide", "Eval", "Match", "Model", "Run", "Train"]

SPEEDS = ("bytes_per_second", "generation_bytes_per_second")
_MATCHED: tuple[Literal["params", "flops", "time"], ...] = ("params", "flops", "time")
_MOST = 1 << 53  # counts are exact as float64, too
_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def _bytes(value: Any) -> Any:
    """'20MB' -> 20_000_000; anything else is left to the field's own type."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,12})?)\s*([KMGT]?B)", value)
    count = float(found[1]) * _UNITS[found[2]] if found else 0.5
    if count != int(count):
        raise ValueError("expected a number of bytes, as in 131072, '500KB' or '20MB'")
    return int(count)


def _flops(value: Any) -> float | str | None:
    """A number, or the name of the variant whose FLOPs are meant."""
    if value is None or (isinstance(value, str) and value.isidentifier()):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ValueError("expected a positive number, as in 1e13, or the name of a variant")
    return float(value)


def _share(value: Any) -> float:
    if isinstance(value, str):
        found = re.fullmatch(r"(\d{1,3}(?:\.\d{1,12})?)\s*%", value)
        value = float(found[1]) / 100 if found else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise ValueError("expected a share between 0 and 1, as in 1% or 0.01")
    return float(value)


Count = Annotated[int, Field(ge=1, le=_MOST)]
Size = Annotated[int, Field(ge=1, le=1 << 24)]
Bytes = Annotated[Count, BeforeValidator(_bytes)]
Positive = Annotated[float, Field(gt=0)]


class Section(PartConfig):
    """One section of a file."""


class Data(Section):
    """context: tokens per row. multiple: documents are padded to it, so that every ratio dividing it sees the same
    rows."""

    context: Size = 256
    multiple: Annotated[int, Field(ge=1, le=1 << 16)] = 8


class Model(Section):
    """ratio: tokens per latent. width: of a latent. token_width: of a token state (None: the width at ratio 1, half of
    it otherwise)."""

    ratio: Annotated[int, Field(ge=1, le=8)] = 4
    width: Annotated[int, Field(ge=1, le=1 << 20)] = 128
    token_width: Annotated[int, Field(ge=1, le=1 << 20)] | None = None


class Train(Section):
    """batch: rows per step, over all processes. lr: peak learning rate (None: the optimizer's default). clip: largest
    gradient norm (None: none). precision: of activations in training; parameters are float32."""

    batch: Size = 16
    lr: Positive | None = None
    clip: Positive | None = 1.0
    precision: Literal["float32", "bfloat16"] = "float32"


class Eval(Section):
    """bytes: of validation text that are scored (None: all), of at least 32 documents where there are as many."""

    bytes: Bytes | None = 131_072


class Budget(Section):
    """How long to train: exactly one of these. A number becomes a step count before the first step; `flops` may name
    the variant whose FLOPs are meant."""

    steps: Count | None = None
    bytes: Bytes | None = None
    flops: Annotated[float | str | None, PlainValidator(_flops)] = None
    seconds: Positive | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Budget:
        if len(self.model_dump(exclude_none=True)) != 1:
            raise ValueError("expected exactly one of steps, bytes, flops, seconds")
        return self

    @property
    def unit(self) -> str:
        return next(iter(self.model_dump(exclude_none=True)))

    @property
    def amount(self) -> int | float | str:
        """How much of it; for flops perhaps the name of a variant."""
        amount: int | float | str = getattr(self, self.unit)
        return amount

    @property
    def variant(self) -> str | None:
        return self.flops if isinstance(self.flops, str) else None


class Run(Section):
    """How a run executes: none of it enters the identity. eval_every: steps (None: about ten times per run).
    micro_batch: rows per backward pass (None: all of a process's). workers: runs at once. probe: prove before training
    and on the evaluated weights that no future token reaches a prediction. samples: generations at the end, of
    sample_bytes each."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d{1,4})?)$")] = "auto"
    micro_batch: Size | None = None
    threads: Annotated[int, Field(ge=1, le=4096)] | None = None
    compile: bool = False
    nproc: Annotated[int, Field(ge=1, le=4096)] = 1
    nnodes: Annotated[int, Field(ge=1, le=4096)] = 1
    workers: Annotated[int, Field(ge=1, le=4096)] = 1
    results: Annotated[str, Field(min_length=1)] = "results"
    log_every: Size = 10
    eval_every: Count | None = None
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 20.0
    probe: bool = True
    samples: Annotated[int, Field(ge=0, le=1000)] = 3
    sample_bytes: Size = 120
    wandb: Literal["off", "offline", "online"] = "off"


class Decide(Section):
    """By which rule rows are called better or worse, written before the runs. metric: a number of the results, of the
    corpus or of the head; level: of the simultaneous intervals; power: with which a number of seeds is said to suffice;
    floor: the smallest difference that counts, in the metric's units (None: any beyond its interval); better: which of
    two numbers is (of speeds the higher, else the lower, where nothing is said)."""

    metric: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = "bpb"
    level: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    power: Annotated[float, Field(gt=0, lt=1)] = 0.8
    floor: Annotated[float, Field(ge=0)] | None = None
    better: Literal["lower", "higher"] = "lower"

    @model_validator(mode="before")
    @classmethod
    def _speeds(cls, given: Any) -> Any:
        fast = isinstance(given, dict) and given.get("metric") in SPEEDS
        return {"better": "higher", **given} if fast else given


class Match(Section):
    """What is made equal to the baseline, exactly one of these, within what share: params, training flops per byte, or
    the measured time of a training step per byte. knob: the setting that is turned to do so (None: the size of the
    variant's own ffn)."""

    params: Annotated[float | None, PlainValidator(_share)] = None
    flops: Annotated[float | None, PlainValidator(_share)] = None
    time: Annotated[float | None, PlainValidator(_share)] = None
    knob: Annotated[str, Field(pattern=r"^[a-z_]+(\.[A-Za-z_][A-Za-z0-9_]*)+$")] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Match:
        if len(self.model_dump(exclude_none=True, exclude={"knob"})) != 1:
            raise ValueError("expected exactly one of params, flops, time")
        return self

    @property
    def by(self) -> Literal["params", "flops", "time"]:
        return next(name for name in _MATCHED if getattr(self, name) is not None)

    @property
    def within(self) -> float:
        share: float = getattr(self, self.by)
        return share
