"""Sampling: peek (next-token logits), draw, push. Cached at token and latent rate, prompts of any length together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lllm.model.latent import LatentModel
from lllm.model.noise import stream

__all__ = ["draw", "generate"]


def draw(logits: Tensor, generators: Sequence[torch.Generator], *, temperature: float, top_k: int | None) -> Tensor:
    """One id per row [B] from logits [B, V]; temperature 0 is greedy. Each row has its own generator, so what stands
    beside it in the batch changes nothing."""
    if temperature == 0:
        return logits.argmax(-1)
    scaled = logits.double() / temperature
    if top_k is not None and top_k < scaled.shape[-1]:
        kept = scaled.topk(top_k, -1).values[:, -1:]
        scaled = scaled.masked_fill(scaled < kept, float("-inf"))
    weights = scaled.softmax(-1)
    picks = [torch.multinomial(row, 1, generator=g) for row, g in zip(weights.cpu(), generators, strict=True)]
    return torch.cat(picks).to(logits.device)


@torch.no_grad()
def generate(
    model: LatentModel,
    prompts: Sequence[Sequence[int]],
    tokens: int,
    *,
    stop: int | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (ids [B], live [B]) for each of `tokens` steps; a row is dead after drawing `stop` (the end of a text).

    prompts: token ids of each row, any length, empty too.
    """
    device = next(model.parameters()).device
    lengths = torch.tensor([len(p) for p in prompts], device=device)
    padded = torch.zeros(len(prompts), int(lengths.max()), dtype=torch.long, device=device)
    for row, prompt in enumerate(prompts):
        padded[row, : len(prompt)] = torch.tensor(prompt, dtype=torch.long, device=device)
    generators = [stream(seed, "generate", row) for row in range(len(prompts))]
    was_training = model.training
    model.eval()
    try:
        state = model.prefill(padded, lengths)
        live = torch.ones(len(prompts), dtype=torch.bool, device=device)
        for step in range(tokens):
            drawn = draw(model.peek(state), generators, temperature=temperature, top_k=top_k)
            if stop is not None:
                live = live & (drawn != stop)
            yield drawn, live
            if not bool(live.any()):
                return
            if step + 1 < tokens:
                state = model.push(state, drawn, live)
    finally:
        model.train(was_training)
