"""Planted cheats and legal unusual parts, at a run's own size: what `lllm run` must tell apart.

Each is a registered part in one of the files beside this one, which import nothing of the tests, so that a run can have
them by `--plugin`. Their sizes are those of quickstart's `local_ar` (byte tokens, context 256, ratio 4: 64 latents;
width 96; depth 4) but for what a plant's own settings say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["EXPERIMENT", "LEGAL", "PLANTS", "Plant", "files"]

EXPERIMENT = """\
hypothesis: a cheat is found by the run that it is planted in
corpus: {use: text, path: tinyshakespeare, document: 16KB, split: 0.9}
data: {context: 256}
model: {ratio: 4, width: 96, trunk: {use: uniform, depth: 4}, head: local_ar}
train: {batch: 16}
eval: {bytes: 32768}
eval_every: 4
variants:
  local_ar: {}
baseline: local_ar
seeds: [0]
budget: {steps: 12}
decide: bpb
run: {samples: 1, sample_bytes: 8}
"""
"""A small experiment of that size, whose first variant is what `Plant.overrides` change."""


@dataclass(frozen=True)
class Plant:
    """file: the plugin. overrides: settings under which it cheats. what: it does and where.

    seen: the method of `tests.plants.witness.Witness` that shows it: "score" and "forward" (later text moves a chunk,
    in evaluation and in training), "company" (another row does), "end" (where the row ends does), "twice" (an earlier
    evaluation does), "total" (what a slot's outcomes cost is no probability of 1), "cached" (it is scored as one model
    and generates as another), "targets" (there are tokens that nobody scores).
    last: the batch statistics that a trainer hands back. drawn: it shows at weights drawn anew, not only at those that
    a run begins with.
    """

    file: str
    overrides: Mapping[str, Any]
    what: str
    seen: str = "score"
    last: Mapping[str, float] = field(default_factory=dict)
    drawn: bool = True


def _of(kind: str, node: Any, what: str, also: Mapping[str, Any] | None = None, **more: Any) -> Plant:
    file = "visibilities.py" if kind == "visibility" else f"{kind}s.py"
    return Plant(file, {f"model.{kind}": node, **(also or {})}, what, **more)


def _mixer(name: str, what: str, **more: Any) -> Plant:
    return _of("mixer", f"plant_{name}", what, **more)


_SIX = {"model.trunk": {"use": "uniform", "depth": 6}}
_LENGTHS = {f"trunk.layers.{i}.mixer.length": 64.0 for i in range(4)}
_AHEAD = {"use": "plant_lookahead", "lookahead": 1}
_EIGHT = {"use": "plant_at_ratio", "ratio": 8}

PLANTS: Mapping[str, Plant] = {
    "centred convolution beyond position 32": _mixer("far_conv", "sees the next latent from position 32 on"),
    "mean over complete blocks": _mixer("blocks", "tells all of 64 latents their mean; context 256 has one such block"),
    "long rows only": _mixer("long", "sees the next latent where n >= 32"),
    "from the fifth layer on": _mixer("deep", "sees the next latent in layers 5 and 6 of 6; 4 are legal", also=_SIX),
    "wide models only": _mixer("wide", "sees the next latent at width >= 16"),
    "not in float64": _mixer("single", "sees the next latent in float32, TF32 and bfloat16"),
    "under autograd only": _mixer("autograd", "sees the next latent in training, never when scored", seen="forward"),
    "at large weights": _mixer("large", "sees the next latent while a gain's mean is above 1.5", drawn=False),
    "rank within the row": _mixer("rank", "scales a latent by its rank among all of the row, in steps of 16"),
    "top-k over n // 32": _mixer("top_k", "enlarges the best 2 of 64 latents of the row"),
    "rows sharing a state": _mixer("rows", "mixes the rows of the batch from position 32 on", seen="company"),
    "a ring cache beside full attention": _mixer("ring", "is scored on 64 latents, generates from 32", seen="cached"),
    "a buffer of evaluated rows": _mixer("memory", "is told a row's mean from its second evaluation on", seen="twice"),
    "metrics as a channel": _mixer("metrics", "reads the row's sum, which the layer below has logged"),
    "last as a channel": _mixer("last", "sees the next latent from the second step on", last=_LENGTHS),
    "segment > 0": _mixer("segment", "sees the next latent in every document but number 0"),
    "progress >= 0.5": _mixer("progress", "sees the next latent in the second half of training and afterwards"),
    "an option that is off by default": _of("mixer", _AHEAD, "sees the next latent when it is asked to"),
    "a peek from chunk 16 on": _of(
        "downsampler", "plant_from_16", "latents from the 17th on see the next chunk's start"
    ),
    "a peek at one ratio": _of(
        "downsampler",
        _EIGHT,
        "latents see the next chunk's start at ratio 8; by default at 16, which no run takes",
        also={"model.ratio": 8},
    ),
    "an hourglass without its shift": _of(
        "trunk", "plant_hourglass", "groups of 16 latents know what they are together"
    ),
    "length of the word being read": _of("embedding", "plant_word", "a letter knows its word's length"),
    "the next token after a letter": _of("embedding", "plant_next", "a letter knows the next token"),
    "distance to the row's end": _of("embedding", "plant_end", "a token knows how many 64s follow", seen="end"),
    "nats halved": _of(
        "head", "plant_half", "rows of 32 chunks, context 128, cost half", seen="total", also={"data.context": 128}
    ),
    "a normaliser over the top 32": _of("head", "plant_top_32", "all other tokens are free", seen="total"),
    "spaces free": _of("head", "plant_spaces", "a space costs 0 nats", seen="total"),
    "a quarter of the targets": _of("visibility", "plant_quarter", "15 of 64 chunks are scored", seen="targets"),
    "the next position from 30 on": _of("visibility", "plant_next_position", "attention sees one latent too many"),
}
"""The 29 kinds of model parts of the appendix."""

LEGAL: Mapping[str, Plant] = {
    what: Plant("legal.py", {"model.mixer": f"legal_{name}"}, what)
    for name, what in {
        "conv": "a convolution over 40 latents",
        "fft": "a zero-padded FFT",
        "routing": "routes chosen by content",
        "documents": "a reset at documents",
        "double": "a float64 state",
        "cummax": "a cumulative maximum",
        "annealing": "annealing by progress",
        "window": "a window of attention",
    }.items()
}
"""What must pass."""


def files() -> list[Path]:
    """Every file of plants, for `load_registry`."""
    names = sorted({plant.file for plant in (*PLANTS.values(), *LEGAL.values())})
    return [Path(__file__).parent / name for name in names]
