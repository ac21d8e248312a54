"""FORM, GATHER and FFN: a downsampler's steps are its parallel form; running a trunk on some of the positions
(gathering them), or in two calls, is running it on all with the others invalid (masking them); what is declared
position-wise is."""

from __future__ import annotations

import torch
from torch import Tensor

from lllm.check.reading import prefixes
from lllm.check.subject import Subject
from lllm.model import Context
from lllm.model.contracts import FFN, Mixer
from lllm.model.contracts.visibility import CAUSAL

__all__ = ["gathering", "positions", "steps"]

_TOLERANCE = 1e-10
_ROWS = 4


@torch.no_grad()
def steps(subject: Subject) -> str | None:
    """FORM: the downsampler token by token, from nothing and from a resumed state, against its parallel form, in all
    that it hands out; T-GEN sees what the head reads of it."""
    model, downsampler = subject.model, subject.model.downsampler
    length = 3 * model.ratio
    lengths = torch.tensor([length, length - 1, model.ratio, 1])
    ok = torch.arange(length) < lengths[:, None]
    ctx = Context.of(ok, CAUSAL)
    e_BTd, _ = model.embedding(subject.tokens(_ROWS, length, "tokens"), ctx)
    encoded = downsampler(e_BTd, ctx)
    owner = ctx.pos // model.ratio if encoded.owner is None else encoded.owner
    complete = encoded.ok.gather(1, owner)
    ends = torch.cat([owner[:, 1:] != owner[:, :-1], complete[:, -1:]], 1)
    latents = encoded.latents.gather(1, owner.unsqueeze(-1).expand(-1, -1, model.width))
    for begin, state in (
        (torch.zeros_like(lengths), downsampler.start(_ROWS, e_BTd[:, 0])),
        (lengths // 2, downsampler.resume(e_BTd, lengths // 2, ctx)),
    ):
        for t in range(length):
            live = ok[:, t] & (t >= begin)
            step = downsampler.step(e_BTd[:, t], ctx.gather(torch.full((_ROWS, 1), t)).where(live[:, None]), state)
            state = step.state
            if not torch.equal(step.done, live & ends[:, t]):
                return f"token {t} completes a chunk in one form of the downsampler only"
            if bool((step.done & ~complete[:, t]).any()):
                return f"a chunk is complete at token {t} and the ok of the downsampler's parallel form denies it"
            if not set(downsampler.lends) == set(encoded.lent) == set(step.lent):
                return "what the downsampler lends in each of its forms is not what it declares"
            pairs = [("latent", step.latent, latents, step.done)]
            if step.token is not None and encoded.tokens is not None:
                pairs.append(("token state", step.token, encoded.tokens, live))
            pairs += [(f"'{name}'", step.lent[name], encoded.lent[name], live) for name in step.lent]
            for what, found, whole, where in pairs:
                if not bool(((found - whole[:, t])[where].abs() <= _TOLERANCE).all()):
                    return f"the downsampler's {what} at token {t} differs between its parallel form and its steps"
    return None


@torch.no_grad()
def gathering(subject: Subject) -> str | None:
    """GATHER: the trunk over some positions of each row equals the trunk over all with only those valid, which one call
    with a carried state after another does, too."""
    model = subject.model
    length, kept = 11, 6
    inputs = _inputs(subject, length)
    order = torch.rand(_ROWS, length, generator=subject.random("kept"))
    order[:, 0] = -1  # the learned first latent is always there
    index = order.argsort(1)[:, :kept].sort(1).values
    keep = torch.zeros(_ROWS, length, dtype=torch.bool).scatter(1, index, True)
    wide = index.unsqueeze(-1).expand(-1, -1, model.width)
    for prefix in prefixes(model, length - 1):
        every = torch.ones(_ROWS, length, dtype=torch.bool)
        ctx = Context.of(every, model.visibility, prefix=torch.full((_ROWS,), prefix))
        masked, _ = model.trunk(inputs, ctx.where(keep))
        gathered, _ = model.trunk(inputs.gather(1, wide), ctx.gather(index))
        first, rest = (ctx.where(keep).gather(torch.arange(*span).expand(_ROWS, -1)) for span in ((0, 7), (7, length)))
        before, state = model.trunk(inputs[:, :7], first)
        after, _ = model.trunk(inputs[:, 7:], rest, state)
        in_two = torch.cat([before, after], 1).gather(1, wide)
        for how, found in (("over those alone", gathered), ("over them in two calls", in_two)):
            wrong = ~((masked.gather(1, wide) - found).abs().amax((0, 2)) <= _TOLERANCE)
            if bool(wrong.any()):
                place = int(wrong.nonzero()[0])
                return f"the trunk with only some positions valid differs from the trunk {how} (kept one {place})"
    return None


@torch.no_grad()
def positions(subject: Subject) -> str | None:
    """FFN: an ffn that declares no token shift is position-wise; so is a mixer that says so."""
    model = subject.model
    inputs = _inputs(subject, 5)
    other = inputs.clone()
    other[:, 2] = 1 - other[:, 2]  # no sign that a product would swallow
    for path, module in model.trunk.named_modules():
        if not isinstance(module, FFN | Mixer) or not module.position_wise:
            continue
        if isinstance(module, Mixer) and module.reads:
            continue  # what it reads only the trunk has; T-GEN has prompts leave such layers out
        ctx = Context.of(torch.ones(_ROWS, 5, dtype=torch.bool), model.visibility)
        moved = (module(inputs, ctx)[0] - module(other, ctx)[0]).abs().amax((0, 2)) > _TOLERANCE
        moved[2] = False
        if bool(moved.any()):
            place = int(moved.nonzero()[0])
            declares = "no token_shift" if isinstance(module, FFN) else "position_wise"
            return f"trunk.{path} reads position 2 at position {place} and declares {declares}"
    return None


def _inputs(subject: Subject, length: int) -> Tensor:
    shape = (_ROWS, length, subject.model.width)
    return torch.randn(shape, generator=subject.random(f"inputs {length}"), dtype=torch.float64)
