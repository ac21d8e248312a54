"""AdamW."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

import torch
from pydantic import Field

from lllm.registry import PartConfig, Search, register
from lllm.train.contracts import Named, TorchOptimizer


@register("optimizer", "adamw", refs=["arXiv:1711.05101"])
class AdamW(TorchOptimizer):
    """Torch's AdamW; decay on the roles that ask for it (matrices and the unembedding)."""

    class Config(PartConfig):
        """The usual."""

        beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
        beta2: Annotated[float, Field(ge=0, lt=1), Search(0.9, 0.99)] = 0.95
        eps: Annotated[float, Field(gt=0)] = 1e-8
        weight_decay: Annotated[float, Field(ge=0), Search(choices=(0.0, 0.03, 0.1))] = 0.1

    config: Config
    default_lr = 3e-3

    def make(self, parameters: Sequence[Named]) -> Iterable[torch.optim.Optimizer]:
        c = self.config
        groups = self.groups(parameters, c.weight_decay)
        yield torch.optim.AdamW(groups, lr=self.default_lr, betas=(c.beta1, c.beta2), eps=c.eps, fused=True)
