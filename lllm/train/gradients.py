"""The gradient of one step: exact sums over micro-batches and ranks, normalised once by the global weight.

loss = sum(w * nats) / sum(w) + sum over names of mean over rows(aux), each over the whole global batch; never a mean of
means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from lllm.data.batches import Batch
from lllm.model.contracts import TrainOut
from lllm.model.latent import LatentModel
from lllm.model.noise import Noise
from lllm.model.unembedding import sampled_labels
from lllm.train.contracts import Objective
from lllm.train.world import World

__all__ = ["Gradients", "StepTotals", "scored"]


@dataclass
class StepTotals:
    """Global sums of one step. nats: of w * nats; weight: of w; tokens: that carry loss; bytes: their raw bytes;
    per_chunk: whether nats are of chunks, not tokens.
    aux, statistics, metrics, counts: global means over rows by name; a metric may also be one number for the rows of a
    call."""

    nats: float
    weight: float
    tokens: int
    bytes: int
    per_chunk: bool = False
    aux: dict[str, float] = field(default_factory=dict)
    statistics: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)


def scored(out: TrainOut, batch: Batch) -> TrainOut:
    """`out` without the loss of tokens that the data mark as read but never scored."""
    if "scored" not in batch.columns:
        return out
    return replace(out, ok=out.ok & (batch.columns["scored"].view(out.ok.shape) > 0))


class Gradients:
    """Fills .grad of the model's parameters.

    bytes_per_token [V]; micro: rows at once (None: all of a rank's); forward: the model, compiled or not.
    """

    def __init__(
        self,
        model: LatentModel,
        objective: Objective,
        world: World,
        bytes_per_token: Tensor,
        *,
        seed: int,
        micro: int | None = None,
        autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
        forward: Callable[..., TrainOut] | None = None,
    ) -> None:
        self.model, self.objective, self.world, self.seed, self.micro = model, objective, world, seed, micro
        self.bytes_per_token = bytes_per_token
        self.autocast, self.forward = autocast, model if forward is None else forward

    def __call__(self, batch: Batch, *, step: int, progress: float, last: Mapping[str, float]) -> StepTotals:
        """Gradients of this rank's rows of global batch `step`, summed over ranks and normalised; and the totals."""
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        for parameter in parameters:
            parameter.grad = None
        sums = torch.zeros(5, dtype=torch.float64, device=batch.tokens.device)
        named: dict[str, Tensor] = {}
        per_chunk, at_once = False, False
        aux: list[Tensor] | None = None
        for rows in self._micro(batch):
            with self.autocast():
                out = scored(self.forward(rows, progress=progress, step=step, seed=self.seed, last=last), rows)
                weights = self.objective.weights(out, rows, progress, last)
            per_chunk = out.slots is None
            nats = out.slots if out.slots is not None else out.nats
            weighted = (weights * nats).sum()
            if not out.aux:
                torch.autograd.backward(weighted)
            elif self._is_whole(batch):
                at_once = True
                torch.autograd.backward(self._normalised(weighted, weights, out.aux, len(rows)))
            else:
                pieces = _of_aux(out.aux, parameters)
                aux = pieces if aux is None else [a + b for a, b in zip(aux, pieces, strict=True)]
                torch.autograd.backward(weighted)
            with torch.no_grad():
                size = self.bytes_per_token[rows.tokens].view(out.ok.shape) * out.ok
                parts = [weighted, weights.sum(), out.ok.sum(), size.sum(), torch.tensor(len(rows))]
                sums += torch.stack([part.detach().double().to(sums.device) for part in parts])
                _count(named, out, len(rows))
        for parameter in parameters:
            if parameter.grad is None:  # every rank must take part in every sum, and one process do as two would
                parameter.grad = torch.zeros_like(parameter)
        gradients = [p.grad for p in parameters if p.grad is not None]
        values = torch.stack([*sums, *(named[key] for key in sorted(named))])
        self.world.sum_([*gradients, *(aux or ()), values])
        scale = torch.where(values[1] > 0, 1 / values[1], 0.0)  # an objective may select nothing in a step
        if gradients and not at_once:
            torch._foreach_mul_(gradients, scale.to(gradients[0].dtype))
        if aux:
            torch._foreach_add_(gradients, [(extra / values[4]).to(extra.dtype) for extra in aux])
        return _totals(values.tolist(), sorted(named), per_chunk)

    def on_sampled_labels(
        self,
        batch: Batch,
        *,
        step: int,
        progress: float,
        last: Mapping[str, float],
        weights: Callable[[Tensor], Tensor] | None = None,
        until: int | None = None,
    ) -> tuple[dict[str, Tensor], float]:
        """Gradient by name of the mean nats of labels drawn from the model itself, and the number of tokens; .grad of
        the parameters is left as it is.

        weights: from the objective's weights to those of the drawn nats. The sum is then divided by the sum of their
        squares, which is returned: number * gradient^2 estimates the Gauss-Newton diagonal of the loss whose weights
        are those squares, so torch.sqrt is that of the training loss. until: only rows whose global id is below it.
        """
        named: dict[str, Tensor] = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        total = {name: torch.zeros_like(p) for name, p in named.items()}
        count = torch.zeros((), dtype=torch.float64, device=batch.tokens.device)
        noise = Noise(self.seed, step)
        kept = batch if until is None else batch.slice(0, int((batch.rows < until).sum()))
        for rows in self._micro(kept):
            with sampled_labels(self.model, noise, rows.rows), self.autocast():
                out = scored(self.model(rows, progress=progress, step=step, seed=self.seed, last=last), rows)
                given = None if weights is None else weights(self.objective.weights(out, rows, progress, last))
            entries = out.nats if out.slots is None else out.slots
            unit = out.ok.any(-1) if out.slots is None else out.ok
            nats = (entries * (unit if given is None else given)).sum()
            for name, piece in torch.autograd.grad(nats, named, materialize_grads=True).items():
                total[name] += piece
            count += out.ok.sum() if given is None else given.double().square().sum()
        self.world.sum_([*total.values(), count])
        scale = torch.where(count > 0, 1 / count, 0.0)
        return {name: value * scale.to(value.dtype) for name, value in total.items()}, float(count)

    def _is_whole(self, batch: Batch) -> bool:
        """Whether one backward pass is the whole step's: this rank, and every other, has one micro-batch. Ranks may
        differ by a row, so with several of them only an unset size of micro-batches tells."""
        return self.micro is None or (self.world.size == 1 and len(batch) <= self.micro)

    def _normalised(self, weighted: Tensor, weights: Tensor, aux: Mapping[str, Tensor], rows: int) -> Tensor:
        """This rank's part of the global loss, auxiliary losses included."""
        held = torch.stack([weights.detach().sum().double(), weights.new_tensor(rows, dtype=torch.float64)])
        self.world.sum_([held])
        scale = torch.where(held[0] > 0, 1 / held[0], 0.0)
        total = torch.stack([value.sum() for value in aux.values()]).sum()
        return weighted * scale.to(weighted.dtype) + total / held[1].to(total.dtype)

    def _micro(self, batch: Batch) -> Iterator[Batch]:
        size = self.micro or max(len(batch), 1)
        for start in range(0, len(batch), size):
            yield batch.slice(start, min(start + size, len(batch)))


def _totals(numbers: list[float], names: Sequence[str], per_chunk: bool) -> StepTotals:
    """numbers: global sums of nats, weights, tokens, bytes and rows, then those of `names` ('aux.balance')."""
    nats, weight, tokens, size, rows, *rest = numbers
    totals = StepTotals(nats, weight, int(tokens), int(size), per_chunk)
    for key, value in zip(names, rest, strict=True):
        kind, name = key.split(".", 1)
        getattr(totals, kind)[name] = value / rows
    return totals


def _of_aux(aux: Mapping[str, Tensor], parameters: Sequence[Tensor]) -> list[Tensor]:
    """Gradients of the summed auxiliary losses, zeros where there are none; the graph is kept."""
    total = torch.stack([value.sum() for value in aux.values()]).sum()
    if not total.requires_grad:  # constants, as of a part that is switched off: they are logged and pull nothing
        return [torch.zeros_like(p) for p in parameters]
    return list(torch.autograd.grad(total, list(parameters), retain_graph=True, materialize_grads=True))


def _count(named: dict[str, Tensor], out: TrainOut, rows: int) -> None:
    """Add sums over rows to `named`."""
    for kind in ("aux", "statistics", "metrics", "counts"):
        values: dict[str, Tensor] = getattr(out, kind)
        for name, value in values.items():
            if value.dim() == 0 and kind == "metrics":
                value = value * rows
            elif value.shape != (rows,):
                raise TypeError(
                    f"{kind} '{name}' has shape {tuple(value.shape)}; expected one number per row, ({rows},)"
                )
            key, total = f"{kind}.{name}", value.detach().double().sum()
            named[key] = named[key] + total if key in named else total
