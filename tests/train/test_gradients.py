"""The gradient of one step is one gradient, however the batch is cut."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lllm.data.batches import Batch
from lllm.model import LatentModel
from lllm.registry import Registry
from lllm.train.gradients import Gradients, scored
from lllm.train.world import World
from tests.train.helpers import assert_close, batches, bytes_per_token, gradients_of, model, part, shard, toys

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "marked": {"marked": True},
    "auxiliary": {"nodes": {"ffn": "toy_steered"}},
    "auxiliary, marked": {"nodes": {"ffn": "toy_steered"}, "marked": True},
    "chunk": {"nodes": {"head": "toy_chunk"}},
    "chunk, marked, auxiliary": {"nodes": {"head": "toy_chunk", "ffn": "toy_steered"}, "marked": True},
    "flat": {"nodes": {"ratio": 1, "head": "parallel"}},
    "selecting": {"objective": "toy_select", "last": {"nats": 500.0, "tokens": 100.0}},
}
LAST = {"steered.0": 0.7}


def case(registry: Registry, name: str) -> tuple[Registry, LatentModel, Batch, dict[str, Any]]:
    """A model and six ragged rows."""
    registry, what = toys(registry), CASES[name]
    built = model(registry, **what.get("nodes", {}))
    batch = batches(shard(registry, marked=what.get("marked", False))).at(4)
    assert len(set(batch.ok.sum(1).tolist())) > 2, "rows are meant to be ragged"
    return registry, built, batch, {"objective": what.get("objective", "cross_entropy"), "last": what.get("last", LAST)}


def expected_weights(ok: Tensor, nats: Tensor, batch: Batch, objective: str, last: dict[str, float]) -> Tensor:
    """What the objectives of CASES say, token by token; per chunk the mean over its real tokens."""
    given = batch.columns.get("weight", torch.ones(batch.tokens.shape)).view(ok.shape).tolist()
    mean = last["nats"] / last["tokens"] if objective == "toy_select" else -1.0
    weights = torch.zeros(nats.shape, dtype=torch.float64)
    for b, n, r in ok.nonzero().tolist():
        if nats.dim() == 2:
            weights[b, n] += given[b][n][r] / sum(ok[b, n].tolist())
        elif float(nats[b, n, r]) > mean:
            weights[b, n, r] = given[b][n][r]
    return weights


def naive(registry: Registry, built: LatentModel, batch: Batch, objective: Any, last: dict[str, float]) -> Any:
    """sum(w * nats) / sum(w) + means over rows of auxiliary losses, in one call of autograd."""
    out = scored(built(batch, progress=0.25, step=5, seed=3, last=last), batch)
    nats = out.nats if out.slots is None else out.slots
    weight = expected_weights(out.ok, nats.detach(), batch, objective, last)
    loss = (weight * nats).sum() / weight.sum() + sum((aux.mean() for aux in out.aux.values()), torch.zeros(()))
    named = dict(built.named_parameters())
    pieces = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    filled = (torch.zeros_like(p) if g is None else g for p, g in zip(named.values(), pieces, strict=True))
    return dict(zip(named, filled, strict=True)), float((weight * nats.detach()).sum()), float(weight.sum()), out


@pytest.mark.parametrize("name", CASES)
def test_it_is_that_of_one_call_of_autograd(registry: Registry, name: str) -> None:
    registry, built, batch, rule = case(registry, name)
    expected, nats, weight, out = naive(registry, built, batch, **rule)
    found, totals = gradients_of(registry, built, batch, **rule)
    assert_close(found, expected, 1e-12)
    assert totals.nats == pytest.approx(nats, rel=1e-12)
    assert totals.weight == pytest.approx(weight, rel=1e-12)
    assert totals.tokens == int(out.ok.sum())
    size = bytes_per_token(registry)[batch.tokens].view(out.ok.shape)
    assert totals.bytes == int((size * out.ok).sum())
    assert totals.per_chunk == (out.slots is None)
    for kind in ("aux", "statistics", "metrics"):
        for key, value in getattr(out, kind).items():
            assert getattr(totals, kind)[key] == pytest.approx(float(value.detach().double().mean()), rel=1e-12)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("micro", [1, 2, 3, 4, 5])
def test_micro_batches_change_nothing(registry: Registry, name: str, micro: int) -> None:
    registry, built, batch, rule = case(registry, name)
    whole, expected = gradients_of(registry, built, batch, **rule)
    cut, totals = gradients_of(registry, built, batch, micro=micro, **rule)
    assert_close(cut, whole, 1e-12)
    assert totals.nats == pytest.approx(expected.nats, rel=1e-12)
    assert (totals.tokens, totals.bytes) == (expected.tokens, expected.bytes)
    for kind in ("aux", "statistics", "metrics"):
        assert getattr(totals, kind) == pytest.approx(getattr(expected, kind), rel=1e-12)


def test_a_mean_of_means_is_another_gradient(registry: Registry) -> None:
    registry, built, batch, rule = case(registry, "plain")
    whole, _ = gradients_of(registry, built, batch, **rule)
    pieces = [gradients_of(registry, built, batch.slice(i, i + 1), **rule)[0] for i in range(len(batch))]
    means = {name: torch.stack([piece[name] for piece in pieces]).mean(0) for name in whole}
    with pytest.raises(AssertionError):
        assert_close(means, whole, 1e-3)


def test_unscored_tokens_and_those_of_weight_0_pull_nothing(registry: Registry) -> None:
    registry, built, batch, _ = case(registry, "marked")
    assert bool(((batch.columns["scored"] == 0) & batch.ok).any())
    heavy = {**batch.columns, "weight": torch.where(batch.columns["scored"] == 0, 100.0, batch.columns["weight"])}
    found, totals = gradients_of(registry, built, Batch(**{**vars(batch), "columns": heavy}))
    expected, before = gradients_of(registry, built, batch)
    assert_close(found, expected, 1e-15)
    assert totals == before


def test_a_step_that_selects_nothing_moves_nothing(registry: Registry) -> None:
    registry, built, batch, _ = case(registry, "plain")
    found, totals = gradients_of(registry, built, batch, objective={"use": "toy_select", "keep": 3})
    assert totals.weight == 0
    assert all(not bool(g.any()) and bool(g.isfinite().all()) for g in found.values())


def test_an_unused_parameter_has_a_zero_gradient(registry: Registry) -> None:
    """In two processes it must take part in the sum; one process does the same, so that both train alike."""
    registry, built, batch, _ = case(registry, "plain")
    built.register_parameter("spare", torch.nn.Parameter(torch.ones(2, dtype=torch.float64)))
    found, _ = gradients_of(registry, built, batch)
    assert found["spare"].tolist() == [0.0, 0.0]


def test_numbers_that_are_not_one_per_row_are_refused(registry: Registry) -> None:
    registry, built, batch, _ = case(registry, "plain")

    def forward(rows: Batch, **options: Any) -> Any:
        out = built(rows, **options)
        out.statistics["whole"] = torch.tensor(1.0)
        return out

    rule = part(registry, "objective", "cross_entropy")
    run = Gradients(built, rule, World(), bytes_per_token(registry), seed=0, forward=forward)
    with pytest.raises(TypeError, match=r"statistics 'whole' has shape \(\); expected one number per row, \(6,\)"):
        run(batch, step=0, progress=0.0, last={})


# --- auxiliary losses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["auxiliary", "auxiliary, marked", "chunk, marked, auxiliary"])
def test_one_micro_batch_is_one_backward_pass(registry: Registry, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many rows at once as there are, declared or not; cut in two it is two passes for each and the same numbers."""
    registry, built, batch, rule = case(registry, name)
    passes: list[str] = []
    for function in ("grad", "backward"):
        original = getattr(torch.autograd, function)

        def counted(*arguments: Any, original: Any = original, function: str = function, **options: Any) -> Any:
            passes.append(function)
            return original(*arguments, **options)

        monkeypatch.setattr(torch.autograd, function, counted)
    found = {micro: gradients_of(registry, built, batch, micro=micro, **rule) for micro in (None, 6, 3)}
    assert passes == ["backward", "backward", *2 * ["grad", "backward"]]
    for micro in (6, 3):
        assert_close(found[micro][0], found[None][0], 1e-12)
        assert found[micro][1].aux == pytest.approx(found[None][1].aux, rel=1e-12)


@pytest.mark.parametrize("micro", [None, 2])
def test_a_constant_auxiliary_loss_pulls_nothing(registry: Registry, micro: int | None) -> None:
    registry, built, batch, _ = case(registry, "plain")
    expected, _ = gradients_of(registry, built, batch)

    def forward(rows: Batch, **options: Any) -> Any:
        out = built(rows, **options)
        out.aux["off"] = torch.full((len(rows),), 0.5)
        return out

    rule = part(registry, "objective", "cross_entropy")
    run = Gradients(built, rule, World(), bytes_per_token(registry), seed=3, micro=micro, forward=forward)
    totals = run(batch, step=5, progress=0.25, last=LAST)
    assert_close({n: p.grad for n, p in built.named_parameters() if p.grad is not None}, expected, 1e-12)
    assert totals.aux == {"off": 0.5}


# --- labels drawn from the model ------------------------------------------------------------------------------------


def on_labels(registry: Registry, built: LatentModel, batch: Batch, micro: int | None = None) -> dict[str, Tensor]:
    rule = part(registry, "objective", "cross_entropy")
    run = Gradients(built, rule, World(), bytes_per_token(registry), seed=3, micro=micro)
    found, tokens = run.on_sampled_labels(batch, step=5, progress=0.25, last=LAST)
    assert tokens == int(batch.ok.sum())
    return found


@pytest.mark.parametrize("name", ["plain", "auxiliary", "chunk", "flat"])
def test_drawn_labels_do_not_depend_on_micro_batches(registry: Registry, name: str) -> None:
    registry, built, batch, _ = case(registry, name)
    whole = on_labels(registry, built, batch)
    for micro in (1, 2, 4):
        assert_close(on_labels(registry, built, batch, micro), whole, 1e-12)


def test_drawn_labels_leave_the_training_gradient_alone(registry: Registry) -> None:
    registry, built, batch, rule = case(registry, "plain")
    before, _ = gradients_of(registry, built, batch, **rule)
    drawn = on_labels(registry, built, batch)
    after = {n: p.grad for n, p in built.named_parameters() if p.grad is not None}
    assert all(torch.equal(before[name], after[name]) for name in before)
    with pytest.raises(AssertionError):
        assert_close(drawn, before, 0.1)


def test_drawn_labels_are_the_models_own(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Legal, of padded places none, and as frequent as the model says."""
    registry, built, batch, _ = case(registry, "plain")
    seen: list[Tensor] = []
    cross_entropy = torch.nn.functional.cross_entropy

    def watched(logits: Tensor, targets: Tensor, **options: Any) -> Tensor:
        seen.append(targets)
        return cross_entropy(logits, targets, **options)

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", watched)
    with torch.no_grad():
        built.get_parameter("head.unembedding.weight").zero_()  # every legal id is as likely as any other
    on_labels(registry, built, batch)
    (targets,) = seen
    real = targets[targets != -100]
    assert len(real) == int(batch.ok.sum())
    assert set(real.tolist()) <= {*range(256), 257}
    assert len(set(real.tolist())) > 60
    assert not torch.equal(real, batch.tokens[batch.ok])


def test_drawn_labels_are_weighted_by_a_function_of_the_objectives_weights(registry: Registry) -> None:
    """number * gradient^2 is unbiased for the curvature of a loss only if the labels' weights are roots of its own."""
    registry, built, batch, _ = case(registry, "marked")
    rule = part(registry, "objective", "cross_entropy")
    run = Gradients(built, rule, World(), bytes_per_token(registry), seed=3, micro=2)
    asked: dict[str, Any] = {"step": 5, "progress": 0.25, "last": LAST}
    plain, tokens = run.on_sampled_labels(batch, **asked)
    ones, count = run.on_sampled_labels(batch, weights=lambda w: (w > 0).to(w.dtype), **asked)
    assert count == tokens
    assert_close(ones, plain, 1e-12)
    root, total = run.on_sampled_labels(batch, weights=torch.sqrt, **asked)
    assert total == pytest.approx(float((batch.columns["weight"] * batch.columns["scored"] * batch.ok).sum()))
    fourfold = Batch(**{**vars(batch), "columns": {**batch.columns, "weight": 4 * batch.columns["weight"]}})
    scaled, larger = run.on_sampled_labels(fourfold, weights=torch.sqrt, **asked)
    assert larger == pytest.approx(4 * total)
    assert_close(scaled, {name: g / 2 for name, g in root.items()}, 1e-9)
    with pytest.raises(AssertionError):
        assert_close(root, plain, 1e-2)


def test_drawn_labels_of_the_first_rows_only(registry: Registry) -> None:
    registry, built, batch, _ = case(registry, "plain")
    run = Gradients(built, part(registry, "objective", "cross_entropy"), World(), bytes_per_token(registry), seed=3)
    asked: dict[str, Any] = {"step": 5, "progress": 0.25, "last": LAST}
    start = int(batch.rows[0])
    found, tokens = run.on_sampled_labels(batch, until=start + 2, **asked)
    expected, few = run.on_sampled_labels(batch.slice(0, 2), **asked)
    assert tokens == few == int(batch.ok[:2].sum())
    assert_close(found, expected, 1e-12)
    none, zero = run.on_sampled_labels(batch, until=start, **asked)  # a rank whose rows all come later
    assert zero == 0
    assert not any(bool(g.any()) for g in none.values())
