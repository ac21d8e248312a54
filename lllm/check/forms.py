"""FORM: the parallel form, the chunked form with a carried state and single steps are one function; and running on some
of the positions (gathering them) is running on all with the others invalid (masking them)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from lllm.check.reading import prefixes
from lllm.check.subject import Subject
from lllm.model import Context, LatentModel, State
from lllm.model.contracts import FFN, Mixer
from lllm.model.contracts.visibility import CAUSAL

__all__ = ["forms", "gathering", "leaving", "positions"]

_TOLERANCE = 1e-10
_LENGTHS = (1, 7, 13)
_ROWS = 4

Run = Callable[[Tensor, Context, State | None], tuple[Tensor, State | None]]


@torch.no_grad()
def forms(subject: Subject) -> str | None:
    """Embedding, downsampler and trunk: parallel = chunked = stepwise, at odd lengths and odd splits, with invalid
    positions anywhere in the row."""
    model = subject.model
    for length in _LENGTHS:
        ok = _ragged(subject, length)
        for prefix in prefixes(model, length - 1):
            ctx = _context(model, ok, prefix)
            inputs = _inputs(subject, length)
            why = _chunked("the trunk", model.trunk, inputs, ctx) or _tails(model, inputs, prefix)
            if why:
                return why
        tokens = subject.tokens(_ROWS, length, "tokens")
        why = _chunked("the embedding", model.embedding, tokens, _context(model, ok, 0))
        if why:
            return why
    return _steps(subject)


@torch.no_grad()
def gathering(subject: Subject) -> str | None:
    """The trunk over some positions of each row equals the trunk over all with only those valid."""
    model = subject.model
    length, kept = 11, 6
    inputs = _inputs(subject, length)
    order = torch.rand(_ROWS, length, generator=subject.random("kept"))
    order[:, 0] = -1  # the learned first latent is always there
    index = order.argsort(1)[:, :kept].sort(1).values
    keep = torch.zeros(_ROWS, length, dtype=torch.bool).scatter(1, index, True)
    for prefix in prefixes(model, length - 1):
        ctx = _context(model, torch.ones(_ROWS, length, dtype=torch.bool), prefix)
        masked, _ = model.trunk(inputs, ctx.where(keep))
        wide = index.unsqueeze(-1).expand(-1, -1, inputs.shape[-1])
        gathered, _ = model.trunk(inputs.gather(1, wide), ctx.gather(index))
        gap = (masked.gather(1, wide) - gathered).abs().amax((0, 2))
        if not bool((gap <= _TOLERANCE).all()):
            place = int((~(gap <= _TOLERANCE)).nonzero()[0])
            return (
                f"the trunk with only some positions valid differs from the trunk over those alone (kept one {place})"
            )
    return None


@torch.no_grad()
def positions(subject: Subject) -> str | None:
    """An ffn that declares no token shift is position-wise; so is a mixer that says so."""
    model = subject.model
    inputs = _inputs(subject, 5)
    for path, module in model.trunk.named_modules():
        if not isinstance(module, FFN | Mixer) or not module.position_wise:
            continue
        if isinstance(module, Mixer) and module.reads:
            continue  # what it reads only the trunk has, see `leaving`
        ctx = _context(model, torch.ones(_ROWS, 5, dtype=torch.bool), 0)
        other = inputs.clone()
        other[:, 2] = 1 - other[:, 2]  # no sign that a product would swallow
        moved = (module(inputs, ctx)[0] - module(other, ctx)[0]).abs().amax((0, 2)) > _TOLERANCE
        moved[2] = False
        if bool(moved.any()):
            place = int(moved.nonzero()[0])
            declares = "no token_shift" if isinstance(module, FFN) else "position_wise"
            return f"trunk.{path} reads position 2 at position {place} and declares {declares}"
    return None


@torch.no_grad()
def leaving(subject: Subject) -> str | None:
    """A trunk told which positions are wanted says there, and in what follows, what it says without being told."""
    model, length, split = subject.model, 9, 6
    inputs, ok = _inputs(subject, length), _ragged(subject, length)
    wanted = torch.rand(_ROWS, split, generator=subject.random("wanted")) < 0.4
    wanted[0], wanted[1] = False, torch.arange(split) == split - 1
    for prefix in prefixes(model, split - 1):
        ctx = _context(model, ok, prefix)
        first, rest = (ctx.gather(torch.arange(*span).expand(_ROWS, -1)) for span in ((0, split), (split, length)))
        every, state = model.trunk(inputs[:, :split], first, None)
        some, told = model.trunk(inputs[:, :split], replace(first, wanted=wanted), None)
        gaps = {"a wanted position": ((every - some).abs().amax(-1) * (ok[:, :split] & wanted)).max()}
        after, after_told = (model.trunk(inputs[:, split:], rest, s)[0] for s in (state, told))
        gaps["what follows"] = ((after - after_told).abs().amax(-1) * ok[:, split:]).max()
        for where, gap in gaps.items():
            if not bool(gap <= _TOLERANCE):
                return f"told which positions are wanted, the trunk differs at {where} by {float(gap):.1e}"
    return None


def _chunked(what: str, run: Run, inputs: Tensor, ctx: Context) -> str | None:
    """`run` over the row at once against several splits of it; outputs count where ctx.ok."""
    length = inputs.shape[1]
    whole, _ = run(inputs, ctx, None)
    allowed = [p for p in range(1, length) if bool(ctx.visibility.cut(p, ctx.prefix).all())]
    for cuts in ([p for p in allowed if p in (1, 6)], [p for p in allowed if p in (3, 4, 11)], allowed):
        outputs, state = [], None
        for start, stop in pairwise([0, *cuts, length]):
            part = ctx.gather(torch.arange(start, stop).expand(len(inputs), -1))
            y, state = run(inputs[:, start:stop], part, state)
            outputs.append(y)
        gap = ((torch.cat(outputs, 1) - whole).abs().amax(-1) * ctx.ok).amax(0)
        if not bool((gap <= _TOLERANCE).all()):
            place = int((~(gap <= _TOLERANCE)).nonzero()[0])
            how = "single steps" if len(cuts) == length - 1 else f"calls split before {cuts}"
            return f"{what} over {length} positions in {how} differs from one call at position {place}"
    return None


def _tails(model: LatentModel, inputs: Tensor, prefix: int) -> str | None:
    """Padding at the end is the same padding when it is not declared to be at the end."""
    ok = torch.arange(inputs.shape[1]) < torch.arange(1, _ROWS + 1)[:, None]
    ctx = replace(_context(model, ok, prefix), tail_only=True)
    gap = (model.trunk(inputs, ctx)[0] - model.trunk(inputs, replace(ctx, tail_only=False))[0]).abs().amax(-1)
    return None if bool((gap * ok <= _TOLERANCE).all()) else "the trunk's outputs depend on ctx.tail_only"


def _steps(subject: Subject) -> str | None:
    """The downsampler token by token, from nothing and from a resumed state, against its parallel form."""
    model = subject.model
    length = 3 * model.ratio
    lengths = torch.tensor([length, length - 1, model.ratio, 1])
    ok = torch.arange(length) < lengths[:, None]
    ctx = Context.of(ok, CAUSAL)
    e_BTd, _ = model.embedding(subject.tokens(_ROWS, length, "tokens"), ctx)
    encoded = model.downsampler(e_BTd, ctx)
    nothing = torch.zeros(_ROWS, dtype=torch.long)
    for begin, state in (
        (nothing, model.downsampler.start(_ROWS, e_BTd[:, 0])),
        (lengths // 2, model.downsampler.resume(e_BTd, lengths // 2, ctx)),
    ):
        owner = encoded.owner if encoded.owner is not None else ctx.pos // model.ratio
        for t in range(length):
            live = ok[:, t] & (t >= begin)
            now = ctx.gather(torch.full((_ROWS, 1), t))
            step = model.downsampler.step(e_BTd[:, t], now.where(live[:, None]), state)
            state = step.state
            if bool((step.done & ~live).any()):
                return f"the downsampler completes a chunk at token {t} in a row that was given none"
            for row in torch.nonzero(live).flatten().tolist():
                chunk = int(owner[row, t])
                if bool(step.done[row]) and not _near(step.latent[row], encoded.latents[row, chunk]):
                    return f"latent {chunk} of the downsampler differs between its parallel form and its steps"
                if bool(step.done[row]) and not bool(encoded.ok[row, chunk]):
                    return f"chunk {chunk} is complete at token {t} and the parallel form's ok denies it"
                if step.token is not None and encoded.tokens is not None:
                    if not _near(step.token[row], encoded.tokens[row, t]):
                        return f"the downsampler's state of token {t} differs between its parallel form and its steps"
                elif model.head.wants_tokens:
                    return "the downsampler hands out token states in one form only"
                for name in {*model.downsampler.lends, *encoded.lent, *step.lent}:
                    if not all(name in lent for lent in (model.downsampler.lends, encoded.lent, step.lent)):
                        return f"the downsampler lends '{name}' in one form only, or does not declare it"
                    if not _near(step.lent[name][row], encoded.lent[name][row, t]):
                        return f"what the downsampler lends as '{name}' at token {t} differs between its forms"
                ends = encoded.ok[row, chunk] if t == length - 1 else owner[row, t + 1] != chunk
                if bool(step.done[row]) != bool(ends):
                    return f"token {t} completes chunk {chunk} in one form only"
    return None


def _near(a: Tensor, b: Tensor) -> bool:
    return bool(((a - b).abs() <= _TOLERANCE).all())


def _inputs(subject: Subject, length: int) -> Tensor:
    shape = (_ROWS, length, subject.model.width)
    return torch.randn(shape, generator=subject.random(f"inputs {length}"), dtype=torch.float64)


def _ragged(subject: Subject, length: int) -> Tensor:
    """Validity with holes; the first row has none and position 0, the learned first latent, is always there."""
    ok = torch.rand(_ROWS, length, generator=subject.random("holes")) < 0.6
    ok[0], ok[:, 0] = True, True
    return ok


def _context(model: LatentModel, ok: Tensor, prefix: int) -> Context:
    given = torch.full((len(ok),), prefix)
    return replace(Context.of(ok, model.visibility, prefix=given), tail_only=False)
