"""Suite of adapters: a short training, through the trainer itself, of a model that the adapter has changed."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lllm.check.compositions import alone, minimal
from lllm.check.training import ALONE, Symbols, Toy
from lllm.data import Dataset, prepare
from lllm.data.batches import Batch, TrainBatches, valid_batches
from lllm.model import Composition, LatentModel, compose
from lllm.model.roles import named_roles
from lllm.model.simplest import simplest
from lllm.registry import PartConfig, Registry
from lllm.results.files import Metrics
from lllm.train.contracts import Adapter
from lllm.train.setup import hooks_of
from lllm.train.trainer import Interrupted, Settings, Trainer, weights
from lllm.train.world import World

__all__ = ["adapter"]

_RATIO, _WIDTH, _CONTEXT, _ROWS, _STEPS, _CUT = 4, 16, 16, 4, 8, 5
_CLOSE = 1e-9


def adapter(registry: Registry, make: Callable[[], Any]) -> Iterator[tuple[str, str]]:
    """Function, roles, and that training with it is interrupted, evaluated and saved without a trace."""
    choice = _composition(registry)
    if choice is None:
        yield "attach", "there are no model parts beside it that fit together; nothing to adapt"
        return
    with tempfile.TemporaryDirectory() as folder:
        data = prepare(Toy(4000), Symbols(PartConfig(), ALONE), {}, multiple=8, root=Path(folder) / "data")
        failures = list(_attached(registry, choice, make, data))
        yield from failures or _trained(registry, lambda: _adapted(registry, choice, make), data, Path(folder))


def _composition(registry: Registry) -> Composition | None:
    """The simplest composition with a ratio that fits together."""
    trunks = simplest(registry).get("trunk")
    found = minimal(registry, trunks[0], [_RATIO]) if trunks else {}
    wide = (replace(choice, width=_WIDTH, vocab=Symbols.vocab, illegal=Symbols.illegal) for choice in found.values())
    return next(wide, None)


def _adapted(registry: Registry, choice: Composition, make: Callable[[], Any]) -> tuple[LatentModel, Adapter]:
    model = compose(registry, choice, dtype=torch.float64)
    part: Adapter = make()
    part.attach(model, 0)
    return model, part


def _attached(
    registry: Registry, choice: Composition, make: Callable[[], Any], data: Dataset
) -> Iterator[tuple[str, str]]:
    """The function is what it was, unless the adapter says otherwise; what is no matrix is left alone; whatever is new
    has a role and a value; something can be trained."""
    before = compose(registry, choice, dtype=torch.float64)
    model, part = _adapted(registry, choice, make)
    rows = _valid(data)[0]
    gap = float((_nats(model, rows) - _nats(before, rows)).abs().max())
    if part.preserves and not gap <= _CLOSE:
        yield (
            "function",
            f"attach changes the model's nats by {gap:.1e}; expected the same function, or preserves = False",
        )
    try:
        roles = {name: role for name, _, role in named_roles(model)}
    except TypeError as error:
        yield "roles", str(error)
        return
    if not all(bool(torch.isfinite(p).all()) for p in model.parameters()):
        yield "attach", "a parameter is not filled with finite numbers"
    now = dict(model.named_parameters())
    for name, tensor, role in named_roles(before):
        if role.kind != "matrix" and (name not in now or not torch.equal(now[name], tensor)):
            yield "roles", f"attach changes {name}, of role {role.kind}; expected matrices only"
    if not any(p.requires_grad for name, p in now.items() if roles[name].kind == "matrix"):
        yield "attach", "no parameter of role matrix can be trained any more"


def _trained(
    registry: Registry, adapted: Callable[[], tuple[LatentModel, Adapter]], data: Dataset, folder: Path
) -> Iterator[tuple[str, str]]:
    whole = _trainer(registry, *adapted(), data, folder / "whole")
    whole.run()
    cut = _trainer(registry, *adapted(), data, folder / "cut", stop_after=_CUT)
    with contextlib.suppress(Interrupted):
        cut.run()
    cut._saved = -1  # it has just saved this step, and is to do so again
    for what, run, undo in (
        ("an evaluation", cut.evaluate, "after_evaluation what was swapped in"),
        ("saving", cut.save, "after_save what before_save swapped in"),
    ):
        before = _copied(cut.model)
        run(_CUT)
        if not _same(before, _copied(cut.model)):
            yield "hooks", f"{what} leaves other weights behind than it found; undo in {undo}"
    resumed = _trainer(registry, *adapted(), data, folder / "cut")
    try:
        resumed.run()
    except (KeyError, RuntimeError) as error:
        yield (
            "state",
            f"a checkpoint cannot be resumed: {type(error).__name__}: {error}; hooks restore structure in load_state",
        )
        return
    if not _same(_copied(resumed.model), _copied(whole.model)):
        yield "state", "a run that was interrupted and resumed ends with other weights than one that was not"


def _trainer(
    registry: Registry, model: LatentModel, part: Adapter, data: Dataset, folder: Path, stop_after: int | None = None
) -> Trainer:
    folder.mkdir(parents=True, exist_ok=True)
    parts, steps = alone(registry), count(1)
    optimizer = parts.part("optimizer")
    return Trainer(
        model,
        batches=TrainBatches(data.train, context=_CONTEXT, size=_ROWS, multiple=8, pad=Symbols.pad, seed=0),
        valid=lambda: _valid(data),
        documents=sum(len(shard.sizes) for shard in data.valid),
        bytes_per_token=torch.from_numpy(np.asarray(Symbols(PartConfig(), ALONE).bytes_per_token, dtype=np.int64)),
        objective=parts.part("objective"),
        optimizer=optimizer,
        schedule=parts.part("schedule"),
        hooks=hooks_of(model, {"adapter": part}),
        settings=Settings(_STEPS, 0, optimizer.default_lr, None, 1.0, checkpoint_seconds=1e9),
        world=World(),
        folder=folder / "checkpoint",
        identity="adapter",
        metrics=Metrics(folder / "metrics.jsonl"),
        stop=lambda: next(steps) == stop_after,
    )


def _valid(data: Dataset) -> list[Batch]:
    return list(islice(valid_batches(data.valid, context=_CONTEXT, size=_ROWS, pad=Symbols.pad), 2))


@torch.no_grad()
def _nats(model: LatentModel, rows: Batch) -> Tensor:
    return next(value.nats for value in model.likelihoods(rows).values() if value.primary)


def _copied(model: LatentModel) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in weights(model).items()}


def _same(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)
