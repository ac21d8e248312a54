"""Muon for matrices, AdamW for everything else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from lllm.registry import PartConfig, register
from lllm.train.contracts import Named, TorchOptimizer

QUINTIC = (3.4445, -4.7750, 2.0315)  # of steepest slope at 0: singular values end between 0.7 and 1.2, not at 1


@register("optimizer", "muon", refs=["arXiv:2502.16982", "arXiv:1711.05101"])
class Muon(TorchOptimizer):
    """Muon on parameters of role matrix, AdamW on the rest, at one learning rate: the orthogonalised update is scaled
    to AdamW's typical size (arXiv:2502.16982, section 2.2). Each of a role's `blocks` is a matrix of its own."""

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
        matrices = [p for p in parameters if p.role.kind == "matrix"]
        rest = [p for p in parameters if p.role.kind != "matrix"]
        if matrices:
            blocks = {id(p.tensor): p.role.blocks for p in matrices}
            yield _Muon(self.groups(matrices, c.weight_decay), blocks, c.momentum, c.steps)
        if rest:
            groups = self.groups(rest, c.weight_decay)
            yield torch.optim.AdamW(groups, lr=self.default_lr, betas=(c.beta1, c.beta2), eps=c.eps, fused=True)


class _Muon(torch.optim.Optimizer):
    """torch.optim.Muon with nesterov and match_rms_adamw, but for blocks and the precision of its iteration."""

    def __init__(self, groups: list[dict[str, Any]], blocks: dict[int, int], momentum: float, steps: int) -> None:
        super().__init__(groups, {"lr": 0.0})
        self.blocks, self.momentum, self.steps = blocks, momentum, steps

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                average = self.state[p].setdefault("momentum_buffer", torch.zeros_like(p.grad))
                average.lerp_(p.grad, 1 - self.momentum)
                update = p.grad.lerp(average, self.momentum).reshape(self.blocks[id(p)], -1, p.shape[-1])
                size = 0.2 * max(update.shape[1:]) ** 0.5
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(orthogonal(update, self.steps).view_as(p), alpha=-size * group["lr"])


def orthogonal(G_BMN: Tensor, steps: int, eps: float = 1e-7) -> Tensor:
    """The orthogonal factor of each matrix, roughly, by Newton and Schulz's iteration.

    In bfloat16 on an accelerator, as published; as it comes on a CPU, where bfloat16 is emulated but on the newest (ten
    times slower on one without AVX512-BF16) and rounds otherwise on each.
    """
    a, b, c = QUINTIC
    X = G_BMN if G_BMN.device.type == "cpu" else G_BMN.bfloat16()
    wide = X.shape[1] <= X.shape[2]
    X = X if wide else X.mT
    X = X / torch.linalg.matrix_norm(X, keepdim=True).clamp(min=eps)
    for _ in range(steps):
        A = X @ X.mT
        X = torch.baddbmm(X, torch.baddbmm(A, A, A, beta=b, alpha=c), X, beta=a)
    return (X if wide else X.mT).to(G_BMN.dtype)
