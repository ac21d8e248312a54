"""T-SLOT and T-PERT of nats: likelihoods are those of the conditionals, and read no later chunk.

The leak tests ask conditionals; a head scores by its nats. A head whose likelihoods marginalise is held to its samples
by T-COND; of all others these two are what ties the one to the other.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lllm.check.reading import prefixes, scored
from lllm.check.result import NotTested, Verdict
from lllm.check.subject import CHUNKS, Subject
from lllm.model.contracts import Likelihood

__all__ = ["perturbation", "slots"]

_GAP = 1e-9
_SAME = 1e-12  # relative to the nats: two calls of one shape
_DRAWS = 2


@torch.no_grad()
def slots(subject: Subject) -> Verdict:
    """T-SLOT: where an exact likelihood tells slots apart, the nats of each slot of a complete chunk are -log p of the
    conditional by which the head draws that slot when it draws the chunk from nothing."""
    model = subject.model
    head = model.head
    if not head.categorical:
        return NotTested("no categorical conditionals")
    tokens = subject.tokens(3, 3 * model.ratio, "row")
    which = head.drawn()
    tested = False
    for prefix in prefixes(model, 3):
        x = model.hidden(tokens, torch.ones_like(tokens, dtype=torch.bool), torch.full((3,), prefix))
        conditionals = head.conditionals(x, which)
        for name, value in head.likelihoods(x).items():
            if value.kind != "exact" or value.slots is None:
                continue
            tested = True
            for k, seen in which:
                log_p = conditionals[k, seen].double().log_softmax(-1)
                expected = -log_p.gather(-1, x.chunk[:, :, k, None]).squeeze(-1)
                gap = float(((value.slots[:, :, k] - expected) * x.ok.all(-1)).abs().max())
                if not gap <= _GAP:
                    given = f" given slots {', '.join(map(str, sorted(seen)))}" if seen else ""
                    return (
                        f"'{name}' of slot {k} is {gap:.1e} nats from the conditional by which it is drawn, that of "
                        f"slot {k}{given}"
                    )
    return None if tested else NotTested("no exact likelihood per slot")


@torch.no_grad()
def perturbation(subject: Subject) -> str | None:
    """T-PERT of nats: those of a chunk, by any likelihood, do not move when every later token is drawn anew."""
    model = subject.model
    slots, length = model.head.ratio, CHUNKS * model.ratio
    chunks = length // slots
    base = subject.tokens(1, length, "row")
    for prefix in prefixes(model, CHUNKS):
        targets = torch.tensor(scored(model, chunks, prefix))
        known = torch.arange(length) < (targets[:, None] + 1) * slots
        rows = base.expand(len(targets), -1)
        before = _nats(subject, rows, prefix)
        for draw in range(_DRAWS):
            other = subject.tokens(len(targets), length, f"other {draw}")
            after = _nats(subject, torch.where(known, rows, other), prefix)
            for name, value in before.items():
                for what, a, b in (("", value.nats, after[name].nats), ("slots of ", value.slots, after[name].slots)):
                    moved = None if a is None or b is None else _moved(a, b, targets)
                    if moved is not None:
                        return f"{what}'{name}' of chunk {moved} change with the tokens after it"
    return None


def _nats(subject: Subject, tokens: Tensor, prefix: int) -> dict[str, Likelihood]:
    model = subject.model
    given = torch.full((len(tokens),), prefix)
    return dict(model.head.likelihoods(model.hidden(tokens, torch.ones_like(tokens, dtype=torch.bool), given)))


def _moved(before: Tensor, after: Tensor, targets: Tensor) -> int | None:
    """The first chunk whose own nats differ; row i of the batch asks for chunk targets[i]."""
    rows = torch.arange(len(targets))
    a, b = before[rows, targets], after[rows, targets]
    same = (a - b).abs() <= _SAME * b.abs().clamp(min=1)
    wrong = (~same.flatten(1).all(1) if same.dim() > 1 else ~same).nonzero()
    return int(targets[wrong[0, 0]]) if len(wrong) else None
