"""Every token counts the same."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lllm.data.batches import Batch
from lllm.model.contracts import TrainOut
from lllm.registry import PartConfig, register
from lllm.train.contracts import Objective


@register("objective", "cross_entropy")
class CrossEntropy(Objective):
    """Weight 1 for every token that carries loss, times the data's column `weight` where there is one.

    Where the loss is per chunk, its nats already sum over the real tokens, so a chunk weighs the mean weight of those:
    a partial chunk counts for the tokens that it has, neither more nor less. sum(w) is then the (weighted) number of
    chunks with a real token, and the normalised loss is in nats per chunk.
    """

    class Config(PartConfig):
        """No options."""

    def weights(self, out: TrainOut, batch: Batch, progress: float, last: Mapping[str, float]) -> Tensor:
        weight = out.ok.to(out.nats.dtype)
        if "weight" in batch.columns:
            weight = weight * batch.columns["weight"].view(out.ok.shape)
        return weight if out.slots is not None else weight.sum(-1) / out.ok.sum(-1).clamp(min=1)
