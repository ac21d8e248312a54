"""What a probe does beside seeing cheats: what it covers, leaves behind, and says."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lllm.check.subject import randomise_
from lllm.data.batches import Batch, joined_rows
from lllm.model import LatentModel, compose
from lllm.model.incremental import peek, prefill, push
from lllm.probe import Calls, probe, probe_rows
from lllm.probe.blame import blame, substitutes
from lllm.probe.calls import restored
from lllm.probe.finding import Gap, judged
from lllm.probe.rows import other_text, places, with_text_after
from lllm.registry import Registry, load_registry
from tests.check import controls, ends, heads, layers, stacks
from tests.check.compositions import toys
from tests.helpers import composition
from tests.plants import LEGAL, PLANTS, Plant, files
from tests.plants.witness import Witness
from tests.probe.helpers import batch_of, probed
from tests.probe.toys_forgetful import Forgetful


def small(registry: Registry, **nodes: object) -> tuple[LatentModel, Batch]:
    """Width 16 over bytes, all weights drawn anew, and six rows of 96 tokens."""
    model = compose(registry, composition(registry, width=16, vocab=256, illegal=(), **nodes))
    randomise_(model, 0)
    return model, batch_of(6, 96)


def test_every_position_is_predicted_from_a_carried_state() -> None:
    for rows, longest, ratio in ((2, 8, 4), (16, 256, 4), (5, 63, 2), (7, 64, 1)):
        for offset in range(40):
            starts, stretch = places(torch.full((rows,), longest), offset, ratio)
            reached = {at for start in starts.tolist() for at in range(start, min(start + stretch, longest))}
            assert reached == set(range(longest))
            assert stretch % ratio == 0


def test_the_longest_rows_are_probed_and_the_longest_is_said(registry: Registry) -> None:
    model, full = small(registry)
    lengths = torch.tensor([96, 20, 50, 8, 60, 33])
    ragged = replace(full, ok=torch.arange(96) < lengths[:, None])
    assert probe_rows(lambda: [ragged], 3).ok.sum(1).tolist() == [50, 60, 96]
    assert probe_rows(lambda: [ragged.slice(1, 4), ragged.slice(4, 6)], 9).ok.sum(1).tolist() == [8, 20, 33, 50, 60]
    found = probe(Calls(model, model), probe_rows(lambda: [ragged.slice(1, 6)], 6))
    assert found.passed
    assert (found.longest, found.context) == (60, 96)
    assert 32 <= found.covered <= 60


def test_which_rows_are_probed_is_chance_and_short_ones_are_among_them() -> None:
    full = batch_of(40, 16)
    lengths = torch.where(torch.arange(40) % 4 == 0, torch.arange(40) % 15 + 1, 16)
    ragged = replace(full, ok=torch.arange(16) < lengths[:, None])
    seen = set()
    for turn in range(40):
        rows = probe_rows(lambda: [ragged.slice(0, 17), ragged.slice(17, 40)], 16, turn)
        assert len(set(rows.rows.tolist())) == 16
        assert (rows.ok.sum(1) < 16).sum() == 2
        assert rows.ok.sum(1).tolist() == sorted(rows.ok.sum(1).tolist())
        seen |= set(rows.rows.tolist())
    assert seen == set(range(40))


def test_short_rows_beside_long_ones_leave_no_position_out() -> None:
    for short in ([3, 9], [1, 100], [128, 255]):
        for offset in range(40):
            lengths = [*short, *[256] * 14]
            starts, stretch = places(torch.tensor(lengths), offset, 4)
            begun = list(zip(starts.tolist(), lengths, strict=True))
            assert {at for start, end in begun for at in range(start, min(start + stretch, end))} == set(range(256))
            assert all(start <= end for start, end in begun[:2])


def test_rows_of_several_batches_are_joined() -> None:
    full = batch_of(4, 16)
    joined = joined_rows([full.slice(0, 1), full.slice(1, 4)])
    assert torch.equal(joined.tokens, full.tokens)
    assert joined.rows.tolist() == [0, 1, 2, 3]


def test_text_is_replaced_from_the_point_on_and_is_other_text() -> None:
    full = batch_of(6, 96)
    points = torch.tensor([0, 10, 20, 40, 80, 96])
    changed = with_text_after(full, points, other_text(full, torch.Generator().manual_seed(0)))
    moved = changed.tokens != full.tokens
    assert not moved[torch.arange(96) < points[:, None]].any()
    assert moved[0].float().mean() > 0.7
    assert set(changed.tokens.unique().tolist()) <= set(full.tokens.unique().tolist())


def test_nothing_is_left_behind(registry: Registry) -> None:
    model, rows = small(registry.with_parts(Forgetful), ffn="toy_forgetful")
    model.train()
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    expected = torch.rand(2), np.random.random(), random.random()
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert probe(Calls(model, model), rows, offset=3).covered == 96
    part = model.trunk.get_submodule("layers.0.ffn")
    assert isinstance(part, Forgetful)
    assert part.seen == []
    assert part.kept is None
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    drawn = torch.rand(2), np.random.random(), random.random()
    assert torch.equal(drawn[0], expected[0])
    assert drawn[1:] == expected[1:]


def test_what_is_restored_was_changed(registry: Registry) -> None:
    """The control of the test above: without the probe's care such a part does leave things behind."""
    model, rows = small(registry.with_parts(Forgetful), ffn="toy_forgetful")
    calls = Calls(model, model)
    calls.score(rows)
    part = model.trunk.get_submodule("layers.0.ffn")
    assert isinstance(part, Forgetful)
    assert len(part.seen) == 1
    with restored(calls):
        calls.score(rows)
    assert len(part.seen) == 1
    assert float(part.calls) == 1


class Counter:
    """A hook that counts what modules are called."""

    def __init__(self, model: LatentModel) -> None:
        self.calls, self.names = 0, list[str]()
        model.trunk.register_forward_hook(self.count)

    def count(self, module: object, inputs: object, output: object) -> None:
        self.calls += 1
        self.names.append(type(module).__name__)


def test_what_a_hook_keeps_outside_the_model_is_put_back(registry: Registry) -> None:
    model, rows = small(registry)
    hook = Counter(model)
    assert probe(Calls(model, model, hooks=[hook]), rows).passed
    assert (hook.calls, hook.names) == (0, [])
    assert probe(Calls(model, model), rows).passed
    assert hook.calls == len(hook.names) > 0


def test_noise_of_the_global_generator_is_no_future_token(registry: Registry) -> None:
    """`lllm check` refuses it for other reasons; a stranger's dropout is not called a leak."""
    known = registry.with_parts(*toys(layers, ends, stacks, heads, controls))
    model, rows = small(known, ffn="bad_noise")
    assert probe(Calls(model, model), rows).passed


def test_what_a_block_declares_to_leak_in_training_is_reported_only(registry: Registry) -> None:
    known = registry.with_parts(*toys(layers))
    for block, passes in (("toy_top_k", True), ("prenorm", True)):
        model, rows = small(known, block=block)
        found = probe(Calls(model, model), rows)
        assert found.passed == passes
        leaks = [finding for finding in found.findings if not finding.holds]
        assert bool(leaks) == (block == "toy_top_k")
        assert all("training" in finding.test and not finding.required for finding in leaks)


@pytest.fixture(scope="module")
def planted() -> Registry:
    return load_registry(files())


@pytest.mark.parametrize("name", ["an option that is off by default", "spaces free", "length of the word being read"])
def test_a_cheat_is_named(planted: Registry, name: str, tmp_path: Path) -> None:
    witness, calls, rows, found = probed(planted, PLANTS[name], tmp_path, rows=8)
    said = blame(calls, rows, found, substitutes(planted, witness.choice, witness.model))
    key, node = next(iter(PLANTS[name].overrides.items()))
    assert (said.place, said.part) == (key, node if isinstance(node, str) else node["use"])
    assert said.instead not in (None, said.part)
    if name != "spaces free":  # no token moves what its own nats say wrongly
        assert said.token is not None
        assert said.token >= said.position // witness.ratio * witness.ratio
    assert str(said.position) in str(said)


def test_rows_that_move_one_another_are_named(planted: Registry, tmp_path: Path) -> None:
    _, calls, rows, found = probed(planted, PLANTS["rows sharing a state"], tmp_path, rows=8)
    said = blame(calls, rows, found)
    assert (said.token, said.beside, said.part) == (None, True, None)
    assert str(said).endswith("the rows beside it, which it may not see, move it")
    alone = replace(said, beside=False, place="model.mixer", part="mine", instead="mine")
    assert str(alone).endswith("; with the defaults of model.mixer 'mine' it is not")


def test_a_cheat_inside_another_part_is_named_and_not_what_it_is_in(planted: Registry, tmp_path: Path) -> None:
    trunk = {"use": "pattern", "mixers": ["attention", {"use": "plant_lookahead", "lookahead": 1}], "depth": 4}
    plant = Plant("mixers.py", {"model.trunk": trunk}, "sees the next latent in every other layer")
    witness, calls, rows, found = probed(planted, plant, tmp_path, rows=8)
    said = blame(calls, rows, found, substitutes(planted, witness.choice, witness.model))
    assert (said.place, said.part, said.instead) == ("model.mixer", "plant_lookahead", "attention")


def test_in_lower_precision_the_mean_is_judged_and_float32_after_it(planted: Registry, tmp_path: Path) -> None:
    for name, passes in (("windowed", True), ("not in float64", False)):
        plant = LEGAL["a window of attention"] if passes else PLANTS[name]
        _, calls, rows, _ = probed(planted, plant, tmp_path, rows=4)
        lower = replace(calls, autocast=lambda: torch.autocast("cpu", torch.bfloat16))
        found = probe(lower, rows)
        assert found.precision == "bfloat16"
        assert found.passed == passes
        assert {finding.exact for finding in found.findings} == {True, False}
        rounding = max(abs(finding.largest) for finding in found.findings if not finding.exact)
        assert rounding > 1e-3  # which in float32 nothing may be


def test_flips_of_a_discrete_choice_are_named_and_the_mean_decides() -> None:
    value = torch.full((3, 40, 4), 1e-3) * torch.tensor([1.0, -1.0]).repeat(20)[:, None]
    value[1, 7, 2] = -0.4
    everywhere = torch.ones_like(value, dtype=torch.bool)
    found = judged(Gap("a test", value, everywhere), 4, exact=False)
    assert found.flips == [1]
    assert (found.row, found.position) == (1, 30)
    assert found.passed
    assert not judged(Gap("a test", value, everywhere), 4, exact=True).passed
    assert not judged(Gap("a test", value + 6e-3, everywhere), 4, exact=False).passed
    nothing = judged(Gap("a test", value * torch.nan, everywhere), 4, exact=True)
    assert not nothing.passed


def test_generation_is_at_the_progress_of_the_weights(planted: Registry, tmp_path: Path) -> None:
    witness = Witness(planted, LEGAL["annealing by progress"], tmp_path)
    model, rows = witness.model, batch_of(2, witness.context)
    for progress in (0.2, 1.0):
        with torch.no_grad():
            slots = model.score(rows, progress=progress)[1]["autoregressive"].slots
            assert slots is not None
            state = prefill(model, rows.tokens[:, :41], torch.tensor([41, 38]), progress=progress)
            for _ in range(6):
                token = rows.tokens.gather(1, state.count[:, None])[:, 0]
                nats = -peek(model, state).log_softmax(-1).gather(1, token[:, None])[:, 0]
                assert torch.allclose(nats, slots.flatten(1).gather(1, state.count[:, None])[:, 0], atol=1e-4)
                state = push(model, state, token, torch.ones(2, dtype=torch.bool))
    assert state.progress == 1.0
    other = prefill(model, rows.tokens[:, :41], torch.tensor([41, 38]), progress=0.2)
    assert not torch.allclose(other.hidden, prefill(model, rows.tokens[:, :41], torch.tensor([41, 38])).hidden)
