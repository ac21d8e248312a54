"""Sampling texts: draw the rest of the open chunk, push its tokens, again. Prompts of any length together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch

from lllm.model.incremental import draw, prefill, push
from lllm.model.latent import LatentModel
from lllm.model.noise import stream
from lllm.model.sampling import Sampling

__all__ = ["generate"]


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
    progress: float = 1.0,
    last: Mapping[str, float] | None = None,
) -> Iterator[list[list[int]]]:
    """Yield each row's new token ids, a chunk at a time, until every row has `tokens` of them or has ended.

    prompts: token ids of each row, any length, empty too. stop: the id that ends a text; it is yielded, and what was
    drawn after it in its chunk is discarded. progress: of training, at which the weights are. last: the batch
    statistics of the end of training, for parts that they steer.

    Raises:
        UserError: a prompt ends inside a chunk and the head draws whole chunks only.
    """
    device = next(model.parameters()).device
    lengths = torch.tensor([len(p) for p in prompts], device=device)
    padded = torch.zeros(len(prompts), int(lengths.max()), dtype=torch.long, device=device)
    for row, prompt in enumerate(prompts):
        padded[row, : len(prompt)] = torch.tensor(prompt, dtype=torch.long, device=device)
    sampling = Sampling([stream(seed, "generate", row) for row in range(len(prompts))], temperature, top_k)
    was_training = model.training
    model.eval()
    try:
        state = prefill(model, padded, lengths, progress=progress, last=last)
        left = [tokens] * len(prompts)
        while any(left):
            chunk, known = draw(model, state, sampling)
            new = []
            for row, (ids, first) in enumerate(zip(chunk.tolist(), known.tolist(), strict=True)):
                ids = ids[first:][: left[row]]
                if stop is not None and stop in ids:
                    ids = ids[: ids.index(stop) + 1]
                    left[row] = len(ids)
                left[row] -= len(ids)
                new.append(ids)
            yield new
            live = torch.tensor([remaining > 0 for remaining in left], device=device)
            if not any(left):
                return
            for slot in range(chunk.shape[1]):
                ok = live & (known <= slot)
                state = push(model, state, chunk[:, slot], ok)
    finally:
        model.train(was_training)
