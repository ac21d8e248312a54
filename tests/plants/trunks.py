"""A planted trunk. Loaded as a plugin."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lllm.model import Build, Context, State
from lllm.model.contracts import Cost, Trunk
from lllm.model.contracts.layers import InputsState
from lllm.model.stack import run_layers, total_cost
from lllm.registry import PartConfig, register


@register("trunk", "plant_hourglass")
class Hourglass(Trunk):
    """One layer, two over the means of complete groups of 16 latents, and one more; the groups' outputs are added to
    their own latents, without the shift by which only later ones would see them (arXiv:2110.13711, section 2.2). Its
    carried state is recomputation."""

    group = 16

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        below, *inside, above = (build.at_layer(i, 4).part("block") for i in range(4))
        self.below, self.inside, self.above = map(nn.ModuleList, ([below], inside, [above]))

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State]:
        held = InputsState(x_BND, ctx.pos, ctx.ok, ctx.segment, {})
        if isinstance(state, InputsState):
            names = ("x", "pos", "ok", "segment")
            held = replace(held, **{n: torch.cat([getattr(state, n), getattr(held, n)], 1) for n in names})
        whole = replace(ctx, pos=held.pos, ok=held.ok, segment=held.segment, wanted=None, tail_only=False)
        index_BM, inner = whole.packed(whole.ok)
        index_BMD = index_BM.unsqueeze(-1).expand(-1, -1, self.width)
        y_BMD, _ = run_layers(self.below, held.x.gather(1, index_BMD), inner, None)
        batch, n, _ = y_BMD.shape
        if n >= self.group:
            ends = torch.arange(self.group - 1, n, self.group, device=index_BM.device).expand(batch, -1)
            z_BGD = y_BMD[:, : ends.shape[1] * self.group].unflatten(1, (-1, self.group)).mean(2)
            z_BGD, _ = run_layers(self.inside, z_BGD, inner.gather(ends), None)
            y_BMD = y_BMD + F.pad(z_BGD.repeat_interleave(self.group, 1), (0, 0, 0, n % self.group))
        y_BMD, _ = run_layers(self.above, y_BMD, inner, None)
        return torch.zeros_like(held.x).scatter(1, index_BMD, y_BMD)[:, -x_BND.shape[1] :], held

    def cost(self, n: int) -> Cost:
        """The inner layers run once per group."""
        outside = total_cost(self.below, n) + total_cost(self.above, n)
        return outside + total_cost(self.inside, n // self.group)
