"""Muon for matrices, AdamW for everything else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn

from lllm.registry import PartConfig, register
from lllm.train.contracts import Named, TorchOptimizer


@register("optimizer", "muon", refs=["arXiv:2502.16982", "arXiv:1711.05101"])
class Muon(TorchOptimizer):
    """Torch's Muon on parameters of role matrix, AdamW on the rest, at one learning rate: the orthogonalised update is
    scaled to AdamW's typical size (arXiv:2502.16982, section 2.2). Each of a role's `blocks` is a matrix of its own."""

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
        rest = [p for p in parameters if p.role.kind != "matrix"]
        self.views = {p.name: _views(p) for p in parameters if p.role.kind == "matrix" and not _plain(p)}
        for p in parameters:
            self.mult |= {id(view): p.role.lr_mult for view in self.views.get(p.name, ())}
        matrices = [
            Named(p.name, view, p.role)
            for p in parameters
            if p.role.kind == "matrix"
            for view in self.views.get(p.name, [p.tensor])
        ]
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

    def step(self, lr: float) -> None:
        for name, views in self.views.items():
            grad = self.named[name].grad
            pieces = [None] * len(views) if grad is None else grad.reshape(len(views), *views[0].shape).unbind()
            for view, piece in zip(views, pieces, strict=True):
                view.grad = piece
        super().step(lr)

    # The state of a parameter in blocks is that of its views, by their number.

    def reset(self, names: Iterable[str]) -> None:
        for name in names:
            for tensor in self.views.get(name, [self.named[name]]):
                for part in self.parts:
                    part.state.pop(tensor, None)

    def state(self) -> dict[str, Any]:
        place = {id(view): (name, i) for name, views in self.views.items() for i, view in enumerate(views)}
        whole = {id(tensor): name for name, tensor in self.named.items()}
        found: dict[str, Any] = defaultdict(dict)
        for part in self.parts:
            for tensor, values in part.state.items():
                if id(tensor) in place:
                    name, i = place[id(tensor)]
                    found[name][str(i)] = dict(values)
                else:
                    found[whole[id(tensor)]] = dict(values)
        return dict(found)

    def load_state(self, state: Mapping[str, Any]) -> None:
        super().load_state({name: values for name, values in state.items() if name not in self.views})
        for part in self.parts:
            held = {id(p) for group in part.param_groups for p in group["params"]}
            for name, views in self.views.items():
                for i, values in state.get(name, {}).items():
                    if id(views[int(i)]) in held:
                        part.state[views[int(i)]] = dict(values)


def _plain(p: Named) -> bool:
    return p.role.blocks == 1 and p.tensor.dim() == 2


def _views(p: Named) -> list[nn.Parameter]:
    """The blocks of a parameter as matrices that share its memory."""
    blocks = p.tensor.detach().view(p.role.blocks, -1, p.tensor.shape[-1])
    return [nn.Parameter(block) for block in blocks]
