"""Muon for matrices, AdamW for everything else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

import torch
from pydantic import Field

from lllm.registry import PartConfig, register
from lllm.train.contracts import Named, TorchOptimizer


@register("optimizer", "muon", refs=["arXiv:2502.16982", "arXiv:1711.05101"])
class Muon(TorchOptimizer):
    """Torch's Muon on parameters of role matrix, AdamW on the rest, at one learning rate: the orthogonalised update is
    scaled to AdamW's typical size (arXiv:2502.16982, section 2.2). A bank of matrices in one tensor goes to AdamW."""

    class Config(PartConfig):
        """momentum, steps: of Muon. beta1, beta2, eps: of AdamW. weight_decay: of both."""

        momentum: Annotated[float, Field(ge=0, lt=1)] = 0.95
        steps: Annotated[int, Field(ge=1)] = 5
        beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
        beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
        eps: Annotated[float, Field(gt=0)] = 1e-8
        weight_decay: Annotated[float, Field(ge=0)] = 0.1

    config: Config
    default_lr = 1e-2

    def make(self, parameters: Sequence[Named]) -> Iterable[torch.optim.Optimizer]:
        c = self.config
        matrices = [p for p in parameters if p.role.kind == "matrix" and p.tensor.dim() == 2]
        rest = [p for p in parameters if p.role.kind != "matrix" or p.tensor.dim() != 2]
        if matrices:
            yield torch.optim.Muon(
                self.groups(matrices, c.weight_decay),
                lr=self.default_lr,
                momentum=c.momentum,
                ns_steps=c.steps,
                adjust_lr_fn="match_rms_adamw",
            )
        if rest:
            groups = self.groups(rest, c.weight_decay)
            yield torch.optim.AdamW(groups, lr=self.default_lr, betas=(c.beta1, c.beta2), eps=c.eps, fused=True)
