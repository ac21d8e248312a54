"""T-SLOT: likelihoods are those of the conditionals.

T-JAC asks conditionals; a head scores by its nats. A head whose likelihoods marginalise is held to its samples by
T-COND; of all others this is what ties the one to the other.
"""

from __future__ import annotations

import torch

from lllm.check.reading import prefixes
from lllm.check.result import NotTested, Verdict
from lllm.check.subject import Subject

__all__ = ["slots"]

_GAP = 1e-9


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
