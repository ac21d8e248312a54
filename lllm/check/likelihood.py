"""T-NORM, T-PAD, T-COND and T-SLOT: likelihoods are those of a distribution, and samples follow it."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

import torch
from torch import Tensor

from lllm.check import NotTested, Verdict
from lllm.check.reading import prefixes
from lllm.check.subject import ILLEGAL, Subject
from lllm.model import Context, LatentModel
from lllm.model.contracts import Likelihood
from lllm.model.incremental import draw, prefill
from lllm.model.sampling import Sampling
from lllm.probe.carried import drawn_nats

__all__ = ["conditional_sampling", "normalisation", "padding", "slots"]

_SUM = 1e-9
_ROWS = 2048  # sequences scored at once


def normalisation(subject: Subject) -> str | None:
    """T-NORM: over all sequences, one sum per value of the loss-free tokens; three symbols up to length 8, two symbols
    further, to reach past two chunks of any ratio."""
    ratio = subject.choice.ratio
    far = 2 * ratio + 1 if ratio <= 5 else ratio + 2
    for legal, longest in ((3, 8), (2, far)):
        model = subject.small(legal)
        for length in range(1, longest + 1):
            for prefix in prefixes(model, length // ratio):
                why = _sums(model, legal, length, prefix)
                if why:
                    at = f", non-causal prefix of {prefix} chunks" if prefix else ""
                    return f"{why} (all sequences of {length} tokens over {legal} symbols, ratio {ratio}{at})"
    return None


@torch.no_grad()
def padding(subject: Subject) -> str | None:
    """T-PAD: neither padding, nor what stands in it, nor longer rows beside it change a row's nats."""
    model, ratio = subject.model, subject.choice.ratio
    longest = 2 * ratio + 3
    tokens = subject.tokens(longest, longest + ratio, "row")
    lengths = torch.arange(1, longest + 1)
    ok = torch.arange(tokens.shape[1]) < lengths[:, None]
    zeros = torch.zeros_like(lengths)
    together = _nats(model, tokens, zeros, ok)
    other = _nats(model, torch.where(ok, tokens, ILLEGAL), zeros, ok)
    for row, length in enumerate(lengths.tolist()):
        alone = _nats(model, tokens[row : row + 1, :length], zeros[:1], rows=torch.tensor([row]))
        for name, value in together.items():
            nats = value.nats[row].sum()
            for how, again in (
                ("when it is padded and batched with longer rows", alone[name].nats),
                ("with the ids that stand in its padding", other[name].nats[row]),
            ):
                if abs(float(again.sum() - nats)) > 1e-10:
                    return f"'{name}' of a row of {length} tokens changes {how}"
    return None


@torch.no_grad()
def slots(subject: Subject) -> Verdict:
    """T-SLOT: where an exact likelihood tells slots apart, the nats of each slot of a complete chunk are -log p of the
    conditional by which it is drawn, to the precision that a probe in float32 does not have."""
    model, head = subject.model, subject.model.head
    if not head.categorical:
        return NotTested("no categorical conditionals")
    tokens = subject.tokens(3, 3 * model.ratio, "row")
    tested = False
    for prefix in prefixes(model, 3):
        x = model.hidden(tokens, torch.ones_like(tokens, dtype=torch.bool), torch.full((3,), prefix))
        expected, whole = drawn_nats(head, x), x.ok.all(-1, keepdim=True)
        for name, value in head.likelihoods(x).items():
            if value.kind == "exact" and value.slots is not None:
                tested = True
                gaps = ((value.slots - expected) * whole).abs().amax((0, 1))
                slot = int(gaps.argmax())
                if not gaps[slot] <= _SUM:
                    return f"'{name}' of slot {slot} is {gaps[slot]:.1e} nats from the conditional by which it is drawn"
    return None if tested else NotTested("no exact likelihood per slot")


@torch.no_grad()
def conditional_sampling(subject: Subject) -> Verdict:
    """T-COND: what `draw` does after a prompt of any length is joint / marginal of the exact likelihood.

    Only a projective head whose prefix conditionals are exact promises it; of others nothing can be asked here.
    """
    model, ratio = subject.small(2), subject.choice.ratio
    head = model.head
    if not head.categorical:
        return NotTested("no categorical conditionals")
    if not head.projective:
        return NotTested("not projective")
    if head.prefix_conditional != "exact":
        return NotTested(f"prefix conditionals: {head.prefix_conditional}")
    for length in range(2 * head.ratio if head.ratio > 1 else 2 * ratio):
        known = length % head.ratio
        endings = torch.tensor(list(product((1, 2), repeat=head.ratio - known)))
        prompt = subject.tokens(1, length, f"prompt {length}", legal=2).expand(len(endings), -1)
        lengths = torch.full((len(endings),), length)
        nothing = torch.zeros_like(lengths)
        streams = [torch.Generator().manual_seed(0) for _ in endings]
        forced = _Forced(streams, endings=endings, turn=nothing.clone(), total=nothing.double())
        chunk, _ = draw(model, prefill(model, prompt, lengths), forced)
        order = _index(chunk[:, known:]).argsort()
        prefix = model.visibility.prefix_chunks(lengths, ratio)
        likelihoods = _nats(model, torch.cat([prompt, endings], 1), prefix)
        exact = [value for value in likelihoods.values() if value.kind == "exact"]
        if not exact:
            return None
        joint = -exact[0].nats.sum(1)
        target = (joint - joint.logsumexp(0))[_index(endings).argsort()]
        gap = float((forced.total[order] - target).exp().sub(1).abs().max())
        if not gap < _SUM:
            return (
                f"after a prompt of {length} tokens the head draws from another distribution than its likelihood's "
                f"joint / marginal (ratio of probabilities off by {gap:.1e})"
            )
    return None


@dataclass(frozen=True)
class _Forced(Sampling):
    """Instead of drawing, each row takes its own digits and adds up their log-probabilities: all paths at once."""

    endings: Tensor = field(kw_only=True)
    turn: Tensor = field(kw_only=True)
    total: Tensor = field(kw_only=True)

    def __call__(self, logits: Tensor, active: Tensor) -> Tensor:
        picked = self.endings.gather(1, self.turn.clamp(max=self.endings.shape[1] - 1)[:, None])
        self.total.add_(logits.double().log_softmax(-1).gather(1, picked)[:, 0].where(active, 0.0))
        self.turn.add_(active)
        return picked[:, 0] * active


def _sums(model: LatentModel, legal: int, length: int, prefix: int) -> str | None:
    """What is wrong with the sums of exp(-nats) over every sequence, per likelihood."""
    sequences = torch.tensor(list(product(range(1, legal + 1), repeat=length)))
    pieces = [_nats(model, piece, torch.full((len(piece),), prefix)) for piece in torch.split(sequences, _ROWS)]
    nats = {name: torch.cat([piece[name].nats.sum(1) for piece in pieces]) for name in pieces[0]}
    kinds = {name: value.kind for name, value in pieces[0].items()}
    loss = model.visibility.loss(torch.arange(length) // model.ratio, torch.tensor(prefix)).expand(length)
    given = sequences[:, ~loss]
    group = torch.unique(given, dim=0, return_inverse=True)[1] if given.shape[1] else torch.zeros(len(given)).long()
    exact = next((name for name, kind in kinds.items() if kind == "exact"), None)
    for name, total in sorted(nats.items(), key=lambda item: kinds[item[0]] != "exact"):
        sums = torch.zeros(int(group.max()) + 1, dtype=torch.float64).index_add(0, group, (-total).exp())
        if kinds[name] == "exact" and not bool(((sums - 1).abs() < _SUM).all()):
            return f"exp(-'{name}') sums to {float(sums[(sums - 1).abs().argmax()]):.9g}, not 1"
        if kinds[name] == "bound" and not bool((sums < 1 + _SUM).all()):
            return f"exp(-'{name}'), a bound, sums to {float(sums.max()):.9g}, more than 1"
        if kinds[name] == "bound" and exact is not None and not bool((total > nats[exact] - _SUM).all()):
            return f"'{name}', an upper bound, is below the exact '{exact}' by {float((nats[exact] - total).max()):.2e}"
    return None


def _nats(
    model: LatentModel, tokens: Tensor, prefix: Tensor, ok: Tensor | None = None, rows: Tensor | None = None
) -> dict[str, Likelihood]:
    """Every likelihood; rows [B]: global ids, which key whatever a likelihood draws (None: 0, 1, ...)."""
    ok = torch.ones_like(tokens, dtype=torch.bool) if ok is None else ok
    ctx = Context.of(ok, model.visibility, prefix=prefix, rows=rows)
    with torch.no_grad():
        return dict(model.head.likelihoods(model.hidden(tokens, ok, prefix, ctx)))


def _index(digits: Tensor) -> Tensor:
    """Rows of digits 1 and 2 as one number each."""
    return (digits * 3 ** torch.arange(digits.shape[1])).sum(1)
