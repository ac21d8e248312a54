"""PROBE: the probe of a run, put to a composition of nearly a run's size on real text.

What acts at a length, a width, a depth, a precision, a vocabulary or a progress that a toy does not have is seen here;
what acts at those of one run alone, by its own probe.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lllm.check import NotTested, Verdict
from lllm.check.subject import Subject, calibrate_, randomise_
from lllm.data import frozen
from lllm.data.batches import Batch
from lllm.errors import UserError
from lllm.model import compose
from lllm.probe import Calls, probe
from lllm.probe.blame import blame
from lllm.probe.calls import entries, restored
from lllm.registry import PartSpec, Registry

__all__ = ["probing"]

_LATENTS, _WIDTH, _LAYERS, _VOCAB = 257, 64, 6, 256  # bytes are the vocabulary of every text
_ROWS = 8


def probing(subject: Subject) -> Verdict:
    """The probe at width 64, 6 layers where the trunk has a depth, 257 latents of Shakespeare, in float32, at the
    beginning and the end of training, under one draw of the weights."""
    if subject.seed:
        return None
    trunk = _deep(subject.registry, subject.choice.parts["trunk"])
    parts = {**subject.choice.parts, "trunk": trunk}
    choice = replace(subject.choice, parts=parts, width=_WIDTH, token_width=None, vocab=_VOCAB, illegal=())
    rows = _text(_ROWS, _LATENTS * choice.ratio)
    try:
        model = compose(subject.registry, choice)
    except UserError as error:
        return NotTested(f"not at width {_WIDTH}: {error}")
    randomise_(model, subject.seed)
    calibrate_(model.eval(), rows.tokens)
    done, begun = (Calls(model, model, progress=progress) for progress in (1.0, 0.0))
    # What gives the same numbers from the same text at both is one model: it need not be probed twice.
    alike = all(map(torch.equal, _numbers(done, rows), _numbers(begun, rows)))
    for calls in (done,) if alike else (done, begun):
        found = probe(calls, rows)
        if not found.passed:
            return f"{blame(calls, rows, found)}{'' if calls is done else ' (at progress 0)'}"
    return None


def _numbers(calls: Calls, rows: Batch) -> list[Tensor]:
    """All that evaluation and training make of the rows."""
    with restored(calls):
        x, likelihoods = calls.score(rows)
        return [x.hidden, *map(entries, likelihoods.values()), calls.train(rows).nats]


def _deep(registry: Registry, trunk: PartSpec) -> PartSpec:
    if "depth" not in type(trunk.config).model_fields:
        return trunk
    try:
        return registry.config("trunk", {**trunk.to_node(), "depth": _LAYERS}, "model.trunk")
    except UserError:  # a trunk that takes other depths only
        return trunk


def _text(rows: int, context: int) -> Batch:
    """Rows of Shakespeare, bytes as ids, each a document of its own."""
    raw = torch.frombuffer(bytearray(frozen.text("tinyshakespeare")[: rows * context]), dtype=torch.uint8)
    tokens = raw.long().view(rows, context)
    number, zero = torch.arange(rows), torch.zeros(rows, dtype=torch.long)
    return Batch(tokens, torch.ones_like(tokens, dtype=torch.bool), number, zero, number + 1, zero)
