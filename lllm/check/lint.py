"""LINT: what parts declare, bounded from outside. A part that declares what is forbidden would certify itself."""

from __future__ import annotations

from collections import Counter

import torch

from lllm.check.reading import prefixes
from lllm.check.subject import CHUNKS, ILLEGAL, Subject
from lllm.model import LatentModel
from lllm.model.contracts import Head, ModelPart

__all__ = ["lint"]


def lint(subject: Subject) -> str | None:
    """Visibility, head table, likelihoods, illegal outcomes, buffers."""
    model = subject.model
    return _visibility(model) or _table(model.head) or _buffers(model) or _outcomes(subject) or _likelihoods(subject)


def _visibility(model: LatentModel) -> str | None:
    """No target with loss reaches its own or a later chunk through the transitive closure of `allow`."""
    rule = model.visibility
    n = CHUNKS + 2
    place = torch.arange(n)
    for m in prefixes(model, CHUNKS):
        prefix = torch.tensor(m)
        allow = rule.allow(place[:, None], place[None, :], prefix).expand(n, n)
        loss = rule.loss(place, prefix).expand(n)
        if not bool(allow.diagonal().all()):
            return "a visibility must let every position see itself"
        if not rule.noncausal_region and bool(allow.triu(1).any()):
            return "the visibility lets a position see a later one and declares no noncausal_region"
        if not bool(loss[m:].all()):
            return f"chunk {int((~loss[m:]).nonzero()[0]) + m} carries no loss with a prefix of {m} chunks"
        reach = torch.linalg.matrix_power(allow.double(), n) > 0  # every position sees itself
        for chunk in loss.nonzero().flatten().tolist():
            furthest = int(reach[chunk].nonzero().max())  # position p holds chunk p - 1
            if furthest > chunk:
                return f"chunk {chunk} carries loss and reaches chunk {furthest - 1} with a prefix of {m} chunks"
    lengths = torch.arange(4 * model.ratio)
    if bool((rule.prefix_chunks(lengths, model.ratio) > lengths // model.ratio).any()):
        return "prefix_chunks counts chunks that the prompt does not complete"
    return None


def _table(head: Head) -> str | None:
    """Every slot is covered, none is given itself, and the head draws by conditionals that it lists."""
    if not head.categorical:
        return None
    table = list(head.table())
    slots = set(range(head.ratio))
    twice = [item for item, count in Counter(table).items() if count > 1]
    if twice:
        return f"the head's table lists {twice[0]} twice"
    for k, seen in table:
        if k in seen:
            return f"the head's table lists slot {k} given itself"
        if not ({k} | seen) <= slots:
            return f"the head's table lists slot {k} given {sorted(seen)}; a chunk has slots 0..{head.ratio - 1}"
    missing = sorted(slots - {k for k, _ in table})
    if missing:
        return f"the head's table has no conditional of slot {missing[0]}"
    for known in range(head.ratio):
        plan = list(head.plan(known))
        if sorted(plan) != list(range(known, head.ratio)):
            return f"plan({known}) is {plan}; expected each of slots {known}..{head.ratio - 1} once"
        have = frozenset(range(known))
        for slot in plan:
            given = head.observed(slot, have)
            if not given <= have:
                return f"slot {slot} is drawn given {sorted(given)} when only {sorted(have)} are known"
            if (slot, given) not in table:
                return f"slot {slot} is drawn given {sorted(given)}, which the table does not list"
            have |= {slot}
    return None


def _buffers(model: LatentModel) -> str | None:
    """Models are built on the meta device: a buffer that the part does not fill holds nothing."""
    parts = {f"{path}.": type(module) for path, module in model.named_modules() if isinstance(module, ModelPart)}
    for name, _ in model.named_buffers():
        owner = parts[max((path for path in parts if name.startswith(path)), key=len)]
        if owner.calibrate_ is ModelPart.calibrate_ and owner.fill_buffers_ is ModelPart.fill_buffers_:
            return (
                f"{name}: neither calibrate_ nor fill_buffers_ fills this buffer, which is zero; a constant "
                "belongs into forward"
            )
    return None


@torch.no_grad()
def _outcomes(subject: Subject) -> str | None:
    """Illegal ids have probability zero and legal ones never do."""
    model = subject.model
    if not model.head.categorical:
        return None
    tokens, zero = subject.tokens(2, 2 * model.ratio, "row"), torch.zeros(2, dtype=torch.long)
    x = model.hidden(tokens, torch.ones_like(tokens, dtype=torch.bool), zero)
    chunks = tokens.shape[1] // model.head.ratio
    for item, logits in model.head.conditionals(x, list(model.head.table())[:40]).items():
        if not bool(torch.isneginf(logits[..., [0, ILLEGAL]]).all()):
            return f"an illegal id has a finite logit in slot {item[0]}; make logits with build.unembedding"
        if not bool(torch.isfinite(logits[..., 1:-1]).all()):
            return f"slot {item[0]} has a logit that is not finite"
        if logits.shape[:2] != (2, chunks):
            return f"conditionals have shape {tuple(logits.shape)}; expected [B, N, V], N = {chunks}"
    return None


@torch.no_grad()
def _likelihoods(subject: Subject) -> str | None:
    """One primary likelihood, sound kinds and shapes, zeros where nothing is scored."""
    model = subject.model
    tokens = subject.tokens(3, 2 * model.ratio + 1, "row")
    ok = torch.arange(tokens.shape[1]) < torch.tensor([1, model.ratio, tokens.shape[1]])[:, None]
    x = model.hidden(tokens, ok, torch.zeros(3, dtype=torch.long))
    likelihoods = model.head.likelihoods(x)
    primary = [name for name, value in likelihoods.items() if value.primary]
    if len(primary) != 1:
        return f"a head has exactly one primary likelihood; this one has {primary or 'none'}"
    for name, value in {**likelihoods, "train_loss": model.head.train_loss(x)}.items():
        if value.kind not in ("exact", "bound", "none"):
            return f"'{name}' is of kind {value.kind!r}; expected exact, bound or none"
        if value.nats.shape != x.ok.shape[:2]:
            return f"'{name}' has nats of shape {tuple(value.nats.shape)}; expected {tuple(x.ok.shape[:2])}"
        if bool(value.nats[~x.ok.any(-1)].any()):
            return f"'{name}' has nats where nothing is scored"
        if value.slots is None:
            continue
        if value.slots.shape != x.ok.shape or not torch.allclose(value.slots.sum(-1), value.nats):
            return f"'{name}' has slots that do not add up to its nats"
        if bool(value.slots[~x.ok].any()):
            return f"'{name}' has nats at a token that is not scored"
    return None
