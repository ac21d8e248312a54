"""Softmax attention with rotary positions, QK-norm and grouped keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from lllm.errors import UserError
from lllm.kernels.rms_norm import rms_norm
from lllm.kernels.rotary import rotary_table, rotate
from lllm.model.build import Build
from lllm.model.context import Context
from lllm.model.contracts import Cost, Mixer
from lllm.model.layers import Linear
from lllm.model.state import State
from lllm.registry import PartConfig, register


@dataclass(frozen=True)
class AttentionState(State):
    """Rotated keys and values [B, G, m, dh] with the position and validity [B, m] of each."""

    k: Tensor
    v: Tensor
    pos: Tensor
    ok: Tensor


def nearest_heads(width: int) -> int:
    """The number of heads of even size that is nearest to width / 32; the smaller of two."""
    fitting = [heads for heads in range(1, width + 1) if width % heads == 0 and width // heads % 2 == 0]
    return min(fitting, key=lambda heads: abs(heads - width / 32), default=1)


def rotary(ctx: Context, size: int, base: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines [B or 1, 1, n, size / 2] of the context's positions, computed once for all layers, in float32
    or better: half precision would turn neighbouring positions by the same angle."""
    dtype = torch.promote_types(dtype, torch.float32)
    key = ("rotary", size, base, dtype)
    if key not in ctx.memo:
        pos = ctx.pos[:1] if ctx.pos.stride(0) == 0 else ctx.pos  # expanded: every row has the same positions
        ctx.memo[key] = rotary_table(pos[:, None], size, base, dtype)
    tables: tuple[Tensor, Tensor] = ctx.memo[key]
    return tables


@register("mixer", "attention", refs=["arXiv:1706.03762", "arXiv:2104.09864", "arXiv:2305.13245", "arXiv:2010.04245"])
class Attention(Mixer):
    """Causal softmax attention: RoPE, QK-norm, grouped queries, torch's SDPA; the cache is keys, values, positions."""

    class Config(PartConfig):
        """heads: query heads (None: about width / 32). kv_heads: key and value heads (None: as many as heads).
        qk_norm: queries and keys of unit mean square; logits are then at most qk_gain * sqrt(head size)."""

        heads: Annotated[int, Field(ge=1)] | None = None
        kv_heads: Annotated[int, Field(ge=1)] | None = None
        qk_norm: bool = True
        qk_gain: Annotated[float, Field(gt=0)] = 1.5
        rope_base: Annotated[float, Field(gt=1)] = 10_000.0

    honours_visibility = True
    kernel = "torch SDPA"

    @classmethod
    def examples(cls) -> tuple[dict[str, object], ...]:
        return {}, {"heads": 2, "kv_heads": 1}

    def __init__(self, config: Config, build: Build) -> None:
        super().__init__(config, build)
        self.heads = config.heads or nearest_heads(build.width)
        self.groups = config.kv_heads or self.heads
        if build.width % self.heads or (build.width // self.heads) % 2:
            raise UserError(
                f"mixer 'attention': heads = {self.heads} does not divide width {build.width} into heads of even size"
            )
        if self.heads % self.groups:
            raise UserError(f"mixer 'attention': kv_heads = {self.groups} does not divide heads = {self.heads}")
        self.size = build.width // self.heads
        self.base = config.rope_base
        # Queries, keys and values are matrices of their own; of grouped queries each share that meets one set of keys.
        blocks = self.heads // self.groups + 2
        self.qkv = Linear(build.width, blocks * self.groups * self.size, blocks=blocks)
        self.out = Linear(build.width, build.width, gain=(2 * build.depth) ** -0.5)
        self.qk_norm = config.qk_norm
        self.scale = (config.qk_gain if config.qk_norm else 1.0) * self.size**-0.5

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, AttentionState]:
        batch, n, width = x_BND.shape
        qkv = self.qkv(x_BND).view(batch, n, self.heads + 2 * self.groups, self.size).transpose(1, 2)
        qk, v = torch.split(qkv, [self.heads + self.groups, self.groups], 1)
        cos, sin = rotary(ctx, self.size, self.base, qk.dtype)
        qk = rotate((rms_norm(qk) if self.qk_norm else qk).to(cos.dtype), cos, sin).to(v.dtype)
        q, k = torch.split(qk, [self.heads, self.groups], 1)
        grouped = self.groups != self.heads
        new = AttentionState(k, v, ctx.pos, ctx.ok)
        if state is None and ctx.tail_only and not ctx.visibility.noncausal_region:
            # is_causal is aligned to the top left: right only when queries and keys are the same positions.
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.scale, enable_gqa=grouped)
        else:
            new = new if state is None else _append(state, new)
            y = F.scaled_dot_product_attention(
                q, new.k, new.v, attn_mask=_mask(ctx, new), scale=self.scale, enable_gqa=grouped
            )
        return self.out(y.transpose(1, 2).reshape(batch, n, width)), new

    def cost(self, n: int) -> Cost:
        """Projections, and 4 width per visible pair: n(n+1)/2 pairs are visible, a dense reference visits n^2."""
        projections = self.qkv.flops(n) + self.out.flops(n)
        return Cost(projections + 2 * self.width * n * (n + 1), projections + 4 * self.width * n * n)


def _append(old: State, new: AttentionState) -> AttentionState:
    if not isinstance(old, AttentionState):
        raise TypeError(f"attention carries an AttentionState, not {type(old).__name__}")
    return AttentionState(
        torch.cat([old.k, new.k], 2),
        torch.cat([old.v, new.v], 2),
        torch.cat([old.pos, new.pos], 1),
        torch.cat([old.ok, new.ok], 1),
    )


def _mask(ctx: Context, cache: AttentionState) -> Tensor:
    """[B, 1, n, m] bool. A query always sees itself: an invalid one must still give a finite, unused output."""
    query, key = ctx.pos[:, :, None], cache.pos[:, None, :]
    seen = ctx.visibility.allow(query, key, ctx.prefix[:, None, None]) & cache.ok[:, None, :]
    n, m = query.shape[1], key.shape[2]
    itself = torch.arange(m, device=key.device) == torch.arange(m - n, m, device=key.device)[:, None]
    return (seen | itself)[:, None]
