"""COST and NOISE: declared costs against reality, and noise that micro-batches cannot change."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lllm.check.subject import Subject, calibrate_, randomise_
from lllm.data.batches import Batch
from lllm.model import LatentModel, compose
from lllm.model.accounting import forward_cost, parameters, parts_spent, positions
from lllm.model.contracts import FFN, Cost, TrainOut

__all__ = ["cost", "noise"]

_WIDE, _VOCAB, _CHUNKS = 64, 264, 40
_FLOPS = 0.01


def cost(subject: Subject) -> str | None:
    """Parameters counted on the meta device are those built; declared FLOPs are those that torch counts."""
    if subject.seed:
        return None  # shapes decide, not weights
    choice = replace(subject.choice, width=_WIDE, token_width=None, vocab=_VOCAB, illegal=())
    empty = compose(subject.registry, choice, device="meta")
    model = compose(subject.registry, choice, dtype=torch.float32)
    if parameters(empty) != parameters(model):
        return f"{parameters(empty)} parameters are declared and {parameters(model)} are built"
    tokens = torch.randint(0, _VOCAB, (1, _CHUNKS * choice.ratio), generator=subject.random("wide"))
    randomise_(model, 0)
    calibrate_(model, tokens)
    for length in (choice.ratio, _CHUNKS * choice.ratio):
        why = _discounts(model, length) or _counts(model, tokens[:, :length])
        if why:
            return f"{why} (a row of {length} tokens)"
    return None


def _counts(model: LatentModel, tokens: Tensor) -> str | None:
    """What is declared as executed, with what data-dependent parts spent beyond it, is what torch counts."""
    run: list[int] = []
    handle = model.trunk.register_forward_pre_hook(lambda module, inputs: run.append(inputs[0].shape[1]))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        out = _train(model, tokens, torch.zeros(1, dtype=torch.long))
    handle.remove()
    beyond = parts_spent(model, {name: float(value) for name, value in out.counts.items()})
    cost = forward_cost(model, tokens.shape[1]) + beyond
    planned = positions(model, tokens.shape[1])["trunk"]
    if run != [planned] and model.downsampler.dynamic:  # a learned number: the plan's is an aim
        found, aim = model.trunk.cost(run[0]), model.trunk.cost(planned)
        cost += Cost(found.flops - aim.flops, found.executed - aim.executed)
    counted = counter.get_total_flops()
    if abs(cost.executed - counted) > _FLOPS * counted:
        return f"{cost.executed:,.0f} FLOPs are declared as executed and torch counts {counted:,}"
    return _discounted("model, with what its parts spent,", cost, tokens.shape[1]) if beyond != Cost() else None


def _discounts(model: LatentModel, length: int) -> str | None:
    """Of what is executed only invisible pairs of positions may be left out of a part's own FLOPs: (n - 1) / 2n of it
    where n positions meet, nothing where each is alone."""
    for part, count in positions(model, length).items():
        module = getattr(model, part)
        meet = count if part == "trunk" else max(count, model.ratio)  # others may mix the tokens of a chunk
        ffns = {f".{path}": inner for path, inner in module.named_modules() if isinstance(inner, FFN)}
        for path, inner in {**ffns, "": module}.items():  # in an ffn no position meets another
            why = _discounted(f"model.{part}{path}", inner.cost(count), 1 if path else meet)
            if why:
                return why
    return None


def _discounted(where: str, cost: Cost, meet: int) -> str | None:
    least = int(cost.executed * (meet + 1) // (2 * meet))
    if least <= cost.flops <= cost.executed:
        return None
    expected = f"{least:,} to {cost.executed:,.0f}" if least < cost.executed else f"{cost.executed:,.0f}"
    return (
        f"{where} declares {cost.flops:,.0f} FLOPs of its own where its reference executes {cost.executed:,.0f}; "
        f"expected {expected}, because only pairs of positions that do not see one another may be left out"
    )


@torch.no_grad()
def noise(subject: Subject) -> str | None:
    """Training nats, auxiliary losses, statistics and counts of a row are its own: no split into micro-batches changes
    them."""
    model = subject.model
    tokens = subject.tokens(6, 4 * model.ratio, "row")
    model.train()
    try:
        rows = torch.arange(6) + 100
        whole = _train(model, tokens, rows)
        for part in (slice(0, 1), slice(1, 4), slice(4, 6)):
            alone = _train(model, tokens[part], rows[part])
            pairs = [("nats", alone.nats, whole.nats)]
            for kind in ("aux", "statistics", "counts"):
                mine, all_rows = getattr(alone, kind), getattr(whole, kind)
                if mine.keys() != all_rows.keys():
                    return f"{kind} come and go with the batch: {sorted(mine)} and {sorted(all_rows)}"
                pairs += [(f"{kind} '{key}'", mine[key], all_rows[key]) for key in mine]
            for what, a, b in pairs:
                if b.shape[0] != 6 or not torch.allclose(a, b[part], rtol=0, atol=1e-10):
                    return f"{what} of a row change with the other rows of its micro-batch"
    finally:
        model.eval()
    return None


def _train(model: LatentModel, tokens: Tensor, rows: Tensor) -> TrainOut:
    zero = torch.zeros_like(rows)
    batch = Batch(tokens, torch.ones_like(tokens, dtype=torch.bool), rows, zero, rows, zero)
    out: TrainOut = model(batch, progress=0.5, step=3, seed=1)
    return out
