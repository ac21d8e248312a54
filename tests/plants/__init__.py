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

    seen: the witness that shows it, see `tests.plants.witness`: "score" and "forward" (later text moves a scored chunk,
    in evaluation and in training), "rows" (another row does), "end" (where the row ends does), "twice" (an earlier
    evaluation does), "total" (what a slot's outcomes cost adds up to another probability than 1), "cached" (scored and
    generated are two models), "targets" (tokens that nobody scores).
    last: the batch statistics that a trainer hands back. grown: factor by which training must have multiplied matrices.
    """

    file: str
    overrides: Mapping[str, Any]
    what: str
    seen: str = "score"
    last: Mapping[str, float] = field(default_factory=dict)
    grown: float = 1.0


def _mixer(name: str, what: str, seen: str = "score", **more: Any) -> Plant:
    return Plant("mixers.py", {"model.mixer": f"plant_{name}"}, what, seen, **more)


_SIX = {"use": "uniform", "depth": 6}
_SHORT = {"data.context": 128}

PLANTS: Mapping[str, Plant] = {
    "centred convolution beyond position 32": _mixer("far_conv", "sees the next latent from position 32 on"),
    "mean over complete blocks": _mixer("blocks", "tells all of 64 latents their mean; context 256 has one such block"),
    "long rows only": _mixer("long", "sees the next latent where n >= 32"),
    "from the fifth layer on": Plant(
        "mixers.py",
        {"model.mixer": "plant_deep", "model.trunk": _SIX},
        "sees the next latent in layers 5 and 6 of 6; in a trunk of 4 it is legal",
    ),
    "wide models only": _mixer("wide", "sees the next latent at width >= 16"),
    "not in float64": _mixer("single", "sees the next latent in float32, TF32 and bfloat16"),
    "under autograd only": _mixer("autograd", "sees the next latent in training, never when scored", "forward"),
    "at large weights": _mixer("large", "sees the next latent once value.weight has twice its mean square", grown=2.0),
    "rank within the row": _mixer("rank", "scales a latent by its rank among all of the row, in steps of 8"),
    "top-k over n // 32": _mixer("top_k", "enlarges the best 2 of 64 latents of the row"),
    "rows sharing a state": _mixer("rows", "mixes the rows of the batch from position 32 on", "rows"),
    "a ring cache beside full attention": _mixer("ring", "is scored on 64 latents and generates from 32", "cached"),
    "a buffer of evaluated rows": _mixer("memory", "is told a row's mean from its second evaluation on", "twice"),
    "metrics as a channel": _mixer("metrics", "reads the row's sum, which the layer below has logged"),
    "last as a channel": _mixer(
        "last",
        "sees the next latent once its own statistic has come back, from the second step on",
        last={f"trunk.layers.{i}.mixer.step": 64.0 for i in range(4)},
    ),
    "segment > 0": _mixer("segment", "sees the next latent in every document but number 0"),
    "progress >= 0.5": _mixer("progress", "sees the next latent in the second half of training and afterwards"),
    "an option that is off by default": Plant(
        "mixers.py", {"model.mixer": {"use": "plant_lookahead", "lookahead": 1}}, "sees the next latent when asked to"
    ),
    "a peek from chunk 16 on": Plant(
        "downsamplers.py", {"model.downsampler": "plant_from_16"}, "latents from the 17th on see the next chunk's start"
    ),
    "a peek at one ratio": Plant(
        "downsamplers.py",
        {"model.downsampler": {"use": "plant_at_ratio", "ratio": 8}, "model.ratio": 8},
        "latents see the next chunk's start at ratio 8; 16 by default, which no run takes",
    ),
    "an hourglass without its shift": Plant(
        "trunks.py", {"model.trunk": "plant_hourglass"}, "groups of 8 latents are told what they are together"
    ),
    "length of the word being read": Plant(
        "embeddings.py", {"model.embedding": "plant_word"}, "a letter knows its word's length"
    ),
    "the next token after a letter": Plant(
        "embeddings.py", {"model.embedding": "plant_next"}, "a letter knows the next token"
    ),
    "distance to the row's end": Plant(
        "embeddings.py", {"model.embedding": "plant_end"}, "a token knows how many 64s of tokens follow", "end"
    ),
    "nats halved": Plant(
        "heads.py", {"model.head": "plant_half", **_SHORT}, "rows of 32 chunks, context 128, cost half", "total"
    ),
    "a normaliser over the top 32": Plant("heads.py", {"model.head": "plant_top_32"}, "the rest is free", "total"),
    "spaces free": Plant("heads.py", {"model.head": "plant_spaces"}, "a space costs 0 nats", "total"),
    "a quarter of the targets": Plant(
        "visibilities.py", {"model.visibility": "plant_quarter"}, "15 of 64 chunks are scored, all honestly", "targets"
    ),
    "the next position from 30 on": Plant(
        "visibilities.py", {"model.visibility": "plant_next_position"}, "attention sees one latent too many"
    ),
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
