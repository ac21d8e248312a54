"""The latent language model: embedding, downsampler, trunk and head, and the one-chunk shift between them.

Trunk position p holds chunk p-1 (p = 0 a learned first latent) and its output predicts chunk p, so every token is
predicted once, the first chunk included. The shift happens here and nowhere else; parts never shift.
Shapes: B rows, T tokens, N latents, R ratio, D latent width, d token width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lllm.model.build import Build
from lllm.model.context import Context
from lllm.model.contracts import Conditional, Downsampler, Embedding, Head, Hidden, Likelihood, Rows, TrainOut, Trunk
from lllm.model.contracts.visibility import Visibility
from lllm.model.noise import Noise
from lllm.model.roles import Role, parameter
from lllm.model.state import State

__all__ = ["LatentModel", "ModelState"]


@dataclass(frozen=True)
class ModelState(State):
    """Everything generation carries. count [B] tokens so far; prefix [B]; chunk [B, R]: tokens of the open chunk, of
    which the first count % R are known; hidden [B, D]: the trunk output that predicts it;
    opened [B, ...]: what the head made of it, once."""

    count: Tensor
    prefix: Tensor
    chunk: Tensor
    hidden: Tensor
    opened: Tensor
    embedding: State | None
    downsampler: State
    trunk: State


class LatentModel(nn.Module):
    """A composition. Build one with `lllm.model.compose`; parameters are filled by `initialise`."""

    def __init__(self, build: Build) -> None:
        super().__init__()
        self.ratio, self.width, self.vocab = build.ratio, build.width, build.vocab
        self.first = parameter(build.width, role=Role("vector", std=1.0, decay=False))
        self.embedding: Embedding = build.part("embedding")
        self.downsampler: Downsampler = build.part("downsampler")
        self.trunk: Trunk = build.part("trunk")
        self.head: Head = build.part("head")
        self.visibility: Visibility = build.part("visibility")
        self.used = build.used

    # --- parallel form -------------------------------------------------------------------------------------------

    def hidden(self, tokens: Tensor, ok: Tensor, prefix: Tensor, ctx: Context | None = None) -> Hidden:
        """Trunk outputs beside the chunks that they predict. tokens [B, T] ids or [B, T, V] one-hot; ok [B, T].

        T need not be a multiple of R: the row is closed with padding.
        """
        short = -tokens.shape[1] % self.ratio
        if short:
            tokens = torch.cat([tokens, torch.zeros_like(tokens[:, :1]).expand(-1, short, *tokens.shape[2:])], 1)
            ok = torch.cat([ok, torch.zeros_like(ok[:, :1]).expand(-1, short)], 1)
        if ctx is None:
            ctx = Context.of(ok, self.visibility, prefix=prefix)
        else:
            ctx = replace(ctx, ok=ok, pos=torch.arange(ok.shape[1], device=ok.device).expand_as(ok))
        e_BTd, _ = self.embedding(tokens, ctx)
        encoded = self.downsampler(e_BTd, ctx)
        batch, n = encoded.ok.shape
        x_BND = torch.cat([self.first.to(encoded.latents.dtype).expand(batch, 1, -1), encoded.latents[:, :-1]], 1)
        latent_ok = torch.cat([torch.ones_like(encoded.ok[:, :1]), encoded.ok[:, :-1]], 1)
        latent_ctx = replace(ctx, pos=torch.arange(n, device=ok.device).expand(batch, n), ok=latent_ok)
        h_BND, _ = self.trunk(x_BND, latent_ctx)
        chunk = tokens.reshape(batch, n, self.ratio, *tokens.shape[2:])
        scored = ok.view(batch, n, self.ratio) & self.visibility.loss(latent_ctx.pos, prefix[:, None]).unsqueeze(-1)
        return Hidden(h_BND, chunk, scored, latent_ctx, encoded.tokens)

    def conditionals(
        self, tokens: Tensor, ok: Tensor, prefix: Tensor, which: Sequence[Conditional] | None = None
    ) -> Mapping[Conditional, Tensor]:
        """Logits [B, N, V] of every conditional of the head (or `which`), for the leak tests."""
        return self.head.conditionals(self.hidden(tokens, ok, prefix), which or self.head.table())

    def likelihoods(self, batch: Rows, *, seed: int = 0) -> Mapping[str, Likelihood]:
        """Every likelihood of the head. Entries that are not scored are 0."""
        ctx = self._context(batch, Noise(seed, -1), 1.0, train=False)
        return self.head.likelihoods(self.hidden(batch.tokens, batch.ok, batch.prefix, ctx))

    def train_nats(
        self, batch: Rows, *, progress: float, step: int, seed: int, last: dict[str, float] | None = None
    ) -> TrainOut:
        """Unreduced training loss of a batch at `step`; `last` are the previous step's global batch statistics."""
        ctx = self._context(batch, Noise(seed, step), progress, train=True)
        ctx.last.update(last or {})
        x = self.hidden(batch.tokens, batch.ok, batch.prefix, ctx)
        loss = self.head.train_loss(x)
        scored = x.ok if loss.slots is not None else x.ok.any(-1)
        return TrainOut(loss.nats, loss.slots, scored, ctx.aux, ctx.metrics, ctx.statistics)

    def forward(
        self, batch: Rows, *, progress: float, step: int, seed: int, last: dict[str, float] | None = None
    ) -> TrainOut:
        """`train_nats`, so that wrappers of modules (DDP, compile) reach it."""
        return self.train_nats(batch, progress=progress, step=step, seed=seed, last=last)

    # --- incremental form ----------------------------------------------------------------------------------------

    @torch.no_grad()
    def prefill(self, tokens: Tensor, lengths: Tensor) -> ModelState:
        """The state after prompts tokens[b, :lengths[b]]; tokens [B, T] (T may be 0), padded on the right."""
        batch, ratio = len(lengths), self.ratio
        width = int(lengths.max()) + -int(lengths.max()) % ratio + ratio
        padded = torch.zeros(batch, width, dtype=torch.long, device=lengths.device)
        padded[:, : min(width, tokens.shape[1])] = tokens[:, :width]
        ok = torch.arange(width, device=lengths.device) < lengths[:, None]
        prefix = self.visibility.prefix_chunks(lengths, ratio)
        ctx = Context.of(ok, self.visibility, prefix=prefix)
        e_BTd, embedding = self.embedding(padded, ctx)
        encoded = self.downsampler(e_BTd, ctx)
        x_BND = torch.cat([self.first.to(e_BTd.dtype).expand(batch, 1, -1), encoded.latents], 1)
        latent_ok = torch.cat([torch.ones_like(encoded.ok[:, :1]), encoded.ok], 1)
        position = torch.arange(latent_ok.shape[1], device=ok.device).expand_as(latent_ok)
        h_BND, trunk = self.trunk(x_BND, replace(ctx, pos=position, ok=latent_ok))
        complete = lengths // ratio
        rows = torch.arange(batch, device=ok.device)
        chunk = padded.view(batch, -1, ratio)[rows, complete]
        resumed = self.downsampler.resume(e_BTd, lengths)
        hidden = h_BND[rows, complete]
        opened = self.head.open(hidden)
        return ModelState(lengths.clone(), prefix, chunk, hidden, opened, embedding, resumed, trunk)

    @torch.no_grad()
    def peek(self, state: ModelState) -> Tensor:
        """Logits [B, V] of each row's next token."""
        slot = state.count % self.ratio
        known = torch.arange(self.ratio, device=slot.device) < slot[:, None]
        ctx = Context.of(known[:, :1] | True, self.visibility, prefix=state.prefix)
        ctx = replace(ctx, pos=(state.count // self.ratio)[:, None])
        x = Hidden(state.hidden[:, None], state.chunk[:, None], known[:, None], ctx)
        return self.head.next_logits(state.opened, x, slot)

    @torch.no_grad()
    def push(self, state: ModelState, token: Tensor, ok: Tensor) -> ModelState:
        """The state after one more token [B] in the rows where ok [B]; other rows are left exactly as they were."""
        ctx = Context.of(ok[:, None], self.visibility, prefix=state.prefix)
        ctx = replace(ctx, pos=state.count[:, None], tail_only=False)
        e_Bd, embedding = self.embedding(token[:, None], ctx, state.embedding)
        latent, done, downsampler = self.downsampler.step(e_Bd[:, 0], ok, state.downsampler)
        slot = (state.count % self.ratio)[:, None]
        chunk = torch.where(ok[:, None], state.chunk.scatter(1, slot, token[:, None]), state.chunk)
        count = state.count + ok
        hidden, opened, trunk = state.hidden, state.opened, state.trunk
        if bool(done.any()):
            step_ctx = replace(ctx, pos=(count // self.ratio)[:, None], ok=done[:, None])
            h_B1D, trunk = self.trunk(latent[:, None], step_ctx, state.trunk)
            hidden = torch.where(done[:, None], h_B1D[:, 0], hidden)
            fresh = self.head.open(hidden)
            opened = torch.where(done.view(-1, *[1] * (fresh.dim() - 1)), fresh, opened)
        return ModelState(count, state.prefix, chunk, hidden, opened, embedding, downsampler, trunk)

    def _context(self, batch: Rows, noise: Noise, progress: float, *, train: bool) -> Context:
        return Context.of(
            batch.ok, self.visibility, prefix=batch.prefix, rows=batch.rows, train=train, progress=progress, noise=noise
        )
