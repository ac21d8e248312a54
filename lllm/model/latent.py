"""The latent language model: embedding, downsampler, trunk and head, and the one-chunk shift between them.

Trunk position p holds chunk p-1 (p = 0 a learned first latent) and its output predicts chunk p, so every token is
predicted once, the first chunk included. The shift happens here and nowhere else; parts never shift.
Shapes: B rows, T tokens, N latents, R ratio, D latent width, d token width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lllm.model.build import Build
from lllm.model.context import Context, told
from lllm.model.contracts import (
    Downsampler,
    Embedding,
    Encoded,
    Head,
    Hidden,
    Likelihood,
    ModelPart,
    Rows,
    Trunk,
)
from lllm.model.contracts.output import TrainOut
from lllm.model.contracts.visibility import CAUSAL, Visibility
from lllm.model.noise import Noise
from lllm.model.roles import Role, parameter

__all__ = ["LATENTS", "LatentModel"]

LATENTS = "model.latents"  # the count of them, where it is learned: see `Context.counts`


class LatentModel(nn.Module):
    """A composition. Build one with `lllm.model.compose`; parameters are filled by `initialise`.

    Its incremental form, for generation, is in `lllm.model.incremental`.
    """

    def __init__(self, build: Build) -> None:
        super().__init__()
        self.ratio, self.width, self.vocab = build.ratio, build.width, build.vocab
        self.first = parameter(build.width, role=Role("vector", std=1.0, decay=False))
        self.embedding: Embedding = build.part("embedding")
        self.downsampler: Downsampler = build.part("downsampler")
        self.trunk: Trunk = build.part("trunk")
        self.head: Head = build.part("head")
        self.visibility: Visibility = build.part("visibility")
        if self.head.wants_tokens:  # the token state before the first token
            self.first_token = parameter(build.token_width, role=Role("vector", std=1.0, decay=False))
        self.used = build.used
        for path, module in self.named_modules():
            if isinstance(module, ModelPart):
                module.path = path

    def hidden(self, tokens: Tensor, ok: Tensor, prefix: Tensor, ctx: Context | None = None) -> Hidden:
        """What the head reads. tokens, ok [B, T]; prefix [B].

        T need not be a multiple of R: the row is closed with padding.
        """
        if ctx is None:
            ctx = Context.of(ok, self.visibility, prefix=prefix)
        # Copies: a part that writes into what it reads changes neither the targets nor the caller's batch.
        tokens, ctx = self._closed(tokens.clone(), ok.clone(), replace(ctx, prefix=prefix))
        e_BTd, _ = self.embedding(tokens.clone(), ctx)
        encoded = self.downsampler(e_BTd, ctx)
        shifted = replace(encoded, latents=encoded.latents[:, :-1], ok=encoded.ok[:, :-1])
        x_BND, latent_ctx = self.trunk_input(shifted, ctx)
        if not self.head.stateful and self.visibility.leaves_out:
            latent_ctx = replace(latent_ctx, wanted=self.visibility.loss(latent_ctx.pos, ctx.prefix[:, None]))
        if self.downsampler.dynamic:
            ctx.add_count(LATENTS, latent_ctx.ok.sum(1))
        h_BND, _ = self.trunk(x_BND, latent_ctx)
        return self.head_input(tokens, h_BND, encoded, ctx, latent_ctx)

    def trunk_input(self, encoded: Encoded, ctx: Context) -> tuple[Tensor, Context]:
        """[first latent, latents] and their context: the shift."""
        batch, n, _ = encoded.latents.shape
        latents = encoded.latents.to(self.first.dtype)  # the residual stream is as precise as the parameters
        x_BND = torch.cat([self.first.expand(batch, 1, -1), latents], 1)
        ok = torch.cat([encoded.ok.new_ones(batch, 1), encoded.ok], 1)
        pos = torch.arange(n + 1, device=ok.device).expand(batch, n + 1)
        segment = torch.cat([ctx.segment[:, :1], self._documents(encoded, ctx, n)], 1)
        return x_BND, replace(ctx, pos=pos, ok=ok, segment=segment, visibility=self.visibility)

    def _documents(self, encoded: Encoded, ctx: Context, n: int) -> Tensor:
        """The document of each of the first n latents [B, n]: that of the last token of its chunk."""
        if encoded.owner is None:
            return ctx.segment[:, self.ratio - 1 :: self.ratio][:, :n]
        room = ctx.segment.new_zeros(len(ctx.segment), int(encoded.latents.shape[1]) + 1)
        return room.scatter_reduce(1, encoded.owner, ctx.segment, "amax", include_self=False)[:, :n]

    def head_input(self, tokens: Tensor, h_BND: Tensor, encoded: Encoded, ctx: Context, latent_ctx: Context) -> Hidden:
        """Trunk outputs beside the chunks that they predict; at token rate, one chunk per token, for heads that want
        token states. Such a head's context is that of what it reads, the token before each target, and causal."""
        batch, length = ctx.ok.shape
        chunks = latent_ctx.pos if encoded.owner is None else encoded.owner
        if not self.head.wants_tokens:
            n = length // self.ratio
            loss = self.visibility.loss(chunks[:, :n], ctx.prefix[:, None]).unsqueeze(-1)
            chunk = tokens.reshape(batch, n, self.ratio)
            return Hidden(h_BND[:, :n], chunk, ctx.ok.view(batch, n, self.ratio) & loss, latent_ctx)
        owner = ctx.pos // self.ratio if encoded.owner is None else encoded.owner
        h_BTD = h_BND.gather(1, owner.unsqueeze(-1).expand(-1, -1, h_BND.shape[-1]))
        assert encoded.tokens is not None  # compose refuses a head that wants them over a downsampler without
        states = encoded.tokens[:, :-1].to(self.first_token.dtype)
        before = torch.cat([self.first_token.expand(batch, 1, -1), states], 1)
        ok = ctx.ok & self.visibility.loss(owner, ctx.prefix[:, None])
        read = torch.cat([torch.ones_like(ctx.ok[:, :1]), ctx.ok[:, :-1]], 1)
        segment = torch.cat([ctx.segment[:, :1], ctx.segment[:, :-1]], 1)
        head_ctx = replace(ctx, ok=read, segment=segment, prefix=torch.zeros_like(ctx.prefix))
        lent = {name: torch.cat([torch.zeros_like(v[:, :1]), v[:, :-1]], 1) for name, v in encoded.lent.items()}
        return Hidden(h_BTD, tokens.unsqueeze(2), ok.unsqueeze(2), head_ctx, before, lent)

    def likelihoods(self, batch: Rows) -> Mapping[str, Likelihood]:
        """Every likelihood of the head. Entries that are not scored are 0."""
        return self.score(batch)[1]

    def score(
        self, batch: Rows, *, progress: float = 1.0, last: Mapping[str, float] | None = None
    ) -> tuple[Hidden, Mapping[str, Likelihood]]:
        """What the head reads (its ok [B, N, R]: which tokens carry loss), and every likelihood of it; `progress` of
        training at which the weights are, `last` the global batch statistics of the latest training step."""
        ctx = self.context(batch, Noise(0, -1), progress, train=False, last=last)
        x = self.hidden(batch.tokens, batch.ok, ctx.prefix, ctx)
        return x, self.head.likelihoods(x)

    def forward(
        self, batch: Rows, *, progress: float, step: int, seed: int, last: Mapping[str, float] | None = None
    ) -> TrainOut:
        """Unreduced training loss of a batch at `step`; `last` are the previous step's global batch statistics."""
        ctx = self.context(batch, Noise(seed, step), progress, train=True, last=last)
        x = self.hidden(batch.tokens, batch.ok, ctx.prefix, ctx)
        loss, said = self.head.train_loss(x), told(ctx)
        return TrainOut(loss.nats, loss.slots, x.ok, said.aux, said.metrics, said.statistics, said.counts)

    def _closed(self, tokens: Tensor, ok: Tensor, ctx: Context) -> tuple[Tensor, Context]:
        """The row padded to whole chunks, and its context, which is causal: a prefix is of latents."""
        short, segment = -tokens.shape[1] % self.ratio, ctx.segment
        if short:
            tokens = F.pad(tokens, (0, short))
            ok = F.pad(ok, (0, short))
            segment = torch.cat([segment, segment[:, -1:].expand(-1, short)], 1)
        pos = torch.arange(ok.shape[1], device=ok.device).expand_as(ok)
        return tokens, replace(ctx, ok=ok, pos=pos, segment=segment, visibility=CAUSAL)

    def context(
        self, batch: Rows, noise: Noise, progress: float, *, train: bool, last: Mapping[str, float] | None
    ) -> Context:
        """The context in which `forward` (train) or `score` reads a batch."""
        complete = batch.ok.sum(1) // self.ratio
        prefix = self.visibility.assign(batch.prompt // self.ratio, complete, batch.rows, noise)
        return Context.of(
            batch.ok,
            self.visibility,
            prefix=prefix,
            rows=batch.rows,
            segment=batch.segment,
            train=train,
            progress=progress,
            noise=noise,
            last=last,
        )
