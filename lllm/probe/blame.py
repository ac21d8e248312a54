"""Why a probe failed: the token that moves a prediction it may not reach, and the part without which it does not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from lllm.data.batches import Batch
from lllm.errors import BuildError, UserError
from lllm.model.compose import Composition, compose
from lllm.model.latent import LatentModel
from lllm.model.simplest import simplest
from lllm.probe.calls import Calls, entries, restored
from lllm.probe.finding import LARGEST, Finding
from lllm.probe.probe import Probe, probe
from lllm.registry import PartSpec, Registry
from lllm.registry.config import with_nodes
from lllm.registry.part import part_info

__all__ = ["Blame", "Substitute", "blame", "substitutes"]

Substitute = tuple[str, str, str, LatentModel]
"""A part's kind, its name, that of the part in its place, and the model with it."""

_TRIES = 3  # other ids in a token's place, before it is said to move nothing


@dataclass(frozen=True)
class Blame:
    """test: that fails by most; row, position: where, in tokens; nats: the deviation; token: the nearest token that
    moves the prediction there and may not, None where none does by itself; beside: whether other rows do; place, part:
    whose replacement by the part `instead` mends all, None where no single one is known that does."""

    test: str
    row: int
    position: int
    nats: float
    token: int | None
    beside: bool = False
    place: str | None = None
    part: str | None = None
    instead: str | None = None

    def __str__(self) -> str:
        moved = f"token {self.position} of row {self.row} is off by {self.nats:+.3g} nats ({self.test})"
        if self.token is not None:
            moved += f"; token {self.token}, which it may not see, moves it"
        elif self.beside:
            moved += "; the rows beside it, which it may not see, move it"
        if self.part is None:
            return moved
        if self.part == self.instead:
            return f"{moved}; with the defaults of {self.place} '{self.part}' it is not"
        return f"{moved}; with {self.place} '{self.instead}' in place of '{self.part}' it is not"

    def record(self) -> dict[str, Any]:
        """As probe.json has it."""
        return {**asdict(self), "text": str(self)}


def blame(calls: Calls, rows: Batch, found: Probe, others: Iterable[Substitute] = ()) -> Blame:
    """What to say of a probe of `rows` that failed. others: models with another part in the place of one, see
    `substitutes`; the first that passes names the part."""
    worst = found.worst
    if worst is None or worst.row is None or worst.position is None:
        raise ValueError("the probe has not failed")
    with restored(calls):
        token = _token(calls, rows, worst)
    beside = any(finding.test.endswith("beside it") and not finding.passed for finding in found.findings)
    said = Blame(worst.test, worst.row, worst.position, worst.largest, token, beside)
    for kind, name, instead, model in others:
        try:
            mends = probe(replace(calls, model=model, forward=model), rows, offset=found.offset).passed
        except Exception:  # noqa: BLE001 - a stranger's part may raise anything where it was not meant to stand
            continue
        if mends:
            return replace(said, place=f"model.{kind}", part=name, instead=instead)
    return said


@torch.no_grad()
def _token(calls: Calls, rows: Batch, finding: Finding) -> int | None:
    """The nearest token that moves the nats at the finding's position, by evaluation or else in training. What may not
    reach its latent is replaced, token by token, and the prediction of the text as it is looked at."""
    slots, position = calls.model.head.ratio, finding.position
    assert finding.row is not None
    assert position is not None
    chunk = position // slots
    length = int(rows.ok[finding.row].sum())
    forbidden = sorted(range(chunk * slots, length), key=lambda token: abs(token - position))
    near = len(rows)  # these one by one, and as many of the others: a leak is of neighbours, or of the row
    forbidden = forbidden[:near] + forbidden[near :: max(1, (len(forbidden) - near) // near)][:near]
    ids = torch.unique(rows.tokens[rows.ok])
    for train in (False, True):
        for start in range(0, len(forbidden), len(rows)):
            tokens = forbidden[start : start + len(rows)]
            same = rows.take(torch.full((len(rows),), finding.row, device=rows.tokens.device))
            before = _nats(calls, same, same, train)[:, chunk]
            moved = torch.zeros(len(rows), dtype=torch.bool, device=before.device)
            for step in range(1, _TRIES + 1):
                changed = same.tokens.clone()
                for row, token in enumerate(tokens):
                    place = int(torch.searchsorted(ids, changed[row, token]))
                    changed[row, token] = ids[(place + step * len(ids) // (_TRIES + 1)) % len(ids)]
                after = _nats(calls, replace(same, tokens=changed), same, train)[:, chunk]
                moved |= (after - before).abs().reshape(len(rows), -1).amax(1) > LARGEST
            for row, token in enumerate(tokens):
                if bool(moved[row]):
                    return token
    return None


def _nats(calls: Calls, read: Batch, predicted: Batch, train: bool) -> torch.Tensor:
    """[B, N, ...]: of the text of `predicted`, by the latents of `read`; of a likelihood of kind none the latents."""
    head = calls.model.head
    x = calls.train_hidden(read) if train else calls.score(read)[0]
    chunk = predicted.tokens.view(x.chunk.shape)
    with calls.autocast():
        if train:
            return entries(head.train_loss(replace(x, chunk=chunk)))
        value = next(v for v in head.likelihoods(replace(x, chunk=chunk)).values() if v.primary)
    return x.hidden if value.kind == "none" else entries(value)


def substitutes(registry: Registry, choice: Composition, model: LatentModel) -> Iterator[Substitute]:
    """For each part that the model uses, the innermost first, as what holds it would mend it too: its kind, its name,
    that of the simplest other part of its kind that fits, and the model with that one wherever it stood and all other
    weights as they are."""
    weights = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    others = simplest(registry)
    chosen = {(spec.kind, spec.name): spec for spec in choice.parts.values()}
    depth = {part_info(type(module)): path.count(".") for path, module in model.named_modules()}
    inner = {(info.kind, info.name): deep for info, deep in depth.items() if info is not None}
    for kind, name in sorted(model.used, key=lambda used: -inner.get(used, 0)):
        for new in others.get(kind, ()):
            if new.name == name and ((kind, name) not in chosen or new.config == chosen[kind, name].config):
                continue
            parts = {of: _swapped(registry, spec, (kind, name), new) for of, spec in choice.parts.items()}
            try:
                other = compose(registry, replace(choice, parts=parts), device=str(model.first.device))
            except (UserError, BuildError):
                continue
            other.to(model.first.dtype)
            with torch.no_grad():
                for path, tensor in {**dict(other.named_parameters()), **dict(other.named_buffers())}.items():
                    if path in weights and weights[path].shape == tensor.shape:
                        tensor.copy_(weights[path])
            yield kind, name, new.name, other
            break


def _swapped(registry: Registry, spec: PartSpec, old: tuple[str, str], new: PartSpec) -> PartSpec:
    """`spec` with `new` in the place of the part `old`, (kind, name), at any depth."""
    if (spec.kind, spec.name) == old:
        return new

    def inner(kind: str, node: Any, place: str) -> Any:
        return _swapped(registry, registry.config(kind, node, place), old, new).delta()

    return PartSpec(spec.entry, with_nodes(spec.config, f"{spec.kind} '{spec.name}'", inner))
