"""T-GEN and T-FORK: the incremental form says what the parallel form says, and its states are never touched."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lllm.check.reading import HIDDEN, asked, name, read
from lllm.check.subject import ILLEGAL, Subject
from lllm.model import LatentModel, ModelState
from lllm.model.contracts import Conditional
from lllm.model.incremental import conditionals, draw, peek, prefill, push
from lllm.model.noise import stream
from lllm.model.sampling import Sampling
from lllm.model.state import map_tensors

__all__ = ["forking", "generation"]

_TOLERANCE = 1e-10
_LONGEST = 13  # or two chunks and a token
_ASKED = 24


@torch.no_grad()
def generation(subject: Subject) -> str | None:
    """T-GEN: prompts of 0 to 13 tokens or more as one ragged batch, prefilled, pushed token by token, and both in turn,
    against the parallel form. One prompt at a time would hide pads that are cached and invalid updates."""
    model = subject.model
    longest = max(_LONGEST, 2 * model.ratio + 1)
    lengths = torch.arange(longest + 1)
    tokens = subject.tokens(len(lengths), 2 * longest + model.ratio, "row")
    which = asked(subject, _ASKED)
    empty = prefill(model, tokens[:, :0], torch.zeros_like(lengths))
    prompts = torch.where(torch.arange(longest) < lengths[:, None], tokens[:, :longest], ILLEGAL)
    ways = (
        ("pushed from nothing", empty, torch.zeros_like(lengths), lengths),
        ("prefilled, then pushed", prefill(model, prompts, lengths), lengths, lengths.flip(0)),
    )
    for how, state, before, more in ways:
        for turn in range(longest + 1):
            why = _disagree(subject, state, tokens, before + more.clamp(max=turn), which)
            if why:
                return f"{why}, when {how}"
            ok = turn < more
            new = tokens.gather(1, (before + turn).clamp(max=tokens.shape[1] - 1)[:, None])[:, 0]
            after = push(model, state, torch.where(ok, new, ILLEGAL), ok)
            # Parts' caches may have grown.
            own = ("count", "index", "prefix", "chunk", "hidden", "opened")
            if not all(torch.equal(getattr(state, of)[~ok], getattr(after, of)[~ok]) for of in own):
                return f"a push changes the state of rows that push nothing, when {how}"
            state = after
    return _draws_alone(subject, prompts, lengths)


@torch.no_grad()
def forking(subject: Subject) -> str | None:
    """T-FORK: two continuations of one state agree exactly, and leave it as it was."""
    model = subject.model
    lengths = torch.arange(6)
    tokens = subject.tokens(6, 6 + 4 * model.ratio, "row")
    every = torch.ones(6, dtype=torch.bool)
    state = prefill(model, tokens[:, :6], lengths)
    was: ModelState = map_tensors(state, torch.clone)
    ends = []
    for start, steps in ((6, 2 * model.ratio), (7, model.ratio), (6, 2 * model.ratio)):
        now = state
        for t in range(start, start + steps):
            now = push(model, now, tokens[:, t], every)
        ends.append(now)
        if not _same(state, was):
            return "pushing tokens onto a state changes the state itself; a part updates it in place"
    if not _same(ends[0], ends[2]):
        return "two equal continuations of one state differ; a part shares or updates something in place"
    rows = torch.tensor([3, 3, 0])
    picked = push(model, state.select(rows), tokens[rows, 6], every[:3])
    whole = push(model, state, tokens[:, 6], every).select(rows)
    if not torch.allclose(_says(model, picked), _says(model, whole), rtol=0, atol=_TOLERANCE):
        return "states of selected rows go on otherwise than in the batch from which they were selected"
    return None


def _disagree(
    subject: Subject, state: ModelState, tokens: Tensor, count: Tensor, which: list[Conditional]
) -> str | None:
    """The first conditional within the known slots that differs from the parallel form's."""
    model, slots = subject.model, subject.model.head.ratio
    if not torch.equal(state.count, count):
        return f"the state counts {state.count.tolist()} tokens instead of {count.tolist()}"
    parallel = read(model, tokens, state.prefix, which)
    rows, chunk, known = torch.arange(len(count)), count // slots, count % slots
    now = {HIDDEN: state.hidden}
    if model.head.categorical:  # slots that are not known hold an id that would show if it were read
        shown = torch.where(torch.arange(slots) < known[:, None], state.chunk, ILLEGAL)
        logits = conditionals(model, replace(state, chunk=shown), which[1:])
        now |= {item: value[:, 1:-1] for item, value in logits.items()}
    for item in which:
        gap = (now[item] - parallel[item][rows, chunk]).abs().amax(-1)
        wrong = (max(item[1], default=-1) < known) & ~(gap <= _TOLERANCE)
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0])
            where = name(item, int(chunk[row]))
            return f"after {int(count[row])} tokens, {where}: {float(gap[row]):.1e} from the parallel form"
    says = _says(model, state)
    for slot in range(slots):
        item = (slot, model.head.observed(slot, frozenset(range(slot))))
        if item in now and not bool(((says - now[item])[known == slot].abs() <= _TOLERANCE).all()):
            return f"slot_logits of slot {slot} differ from the conditional that the table lists for it"
    return None


def _says(model: LatentModel, state: ModelState) -> Tensor:
    """What follows from a state: the next token's logits, or the latent where there are none."""
    return peek(model, state)[:, 1:-1] if model.head.categorical else state.hidden


def _draws_alone(subject: Subject, prompts: Tensor, lengths: Tensor) -> str | None:
    """What is drawn for a row does not depend on the rows beside it. A head that cannot continue a chunk is given whole
    ones only."""
    model = subject.model
    if model.head.prefix_conditional == "none":
        lengths = lengths // model.head.ratio * model.head.ratio

    def drawn(rows: slice) -> Tensor:
        of = lengths[rows]
        sampling = Sampling([stream(subject.seed, "draw", length) for length in of.tolist()])
        return draw(model, prefill(model, prompts[rows], of), sampling)[0]

    together = drawn(slice(None))
    for row in (0, 5, _LONGEST):
        if not torch.equal(drawn(slice(row, row + 1))[0], together[row]):
            return f"what is drawn after a prompt of {int(lengths[row])} tokens changes with the rows beside it"
    return None


def _same(a: ModelState, b: ModelState) -> bool:
    left, right = a.tensors(), b.tensors()
    return len(left) == len(right) and all(
        x.shape == y.shape and torch.equal(x.nan_to_num(), y.nan_to_num()) for x, y in zip(left, right, strict=True)
    )
