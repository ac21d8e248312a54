"""In-model noise: a function of its key alone, on every device and in every graph; and random, as tests can tell."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch._dynamo.testing import CompileCounter

from lllm.model import noise
from lllm.model.noise import Noise, stream

ROWS = torch.arange(400)
PAIRS = torch.cartesian_prod(torch.arange(20), torch.arange(20))  # rows and chunks
WORD = (1 << 64) - 1


def mixed(x: int) -> int:
    """SplitMix64's mixer on unsigned integers."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & WORD
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & WORD
    return x ^ (x >> 31)


def bits(kind: str, seed: int, step: int, key: tuple[int, ...], index: int) -> int:
    """What `Noise` draws from, one element at a time."""
    state = int.from_bytes(noise._digest(kind, seed, step, len(key)), "little")
    for part in key:
        state = mixed((state + part * 0x9E3779B97F4A7C15) & WORD)
    return mixed((state + mixed(index * 0x9E3779B97F4A7C15 & WORD)) & WORD)


# --- the numbers -----------------------------------------------------------------------------------------------------


def test_the_mixer_is_that_of_the_paper() -> None:
    """The first outputs of SplitMix64 from seed 0, as its other implementations print them."""
    made = noise._mixed(torch.arange(1, 5) * noise._GAMMA).tolist()
    first = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC]
    assert [value & WORD for value in made] == first


@pytest.mark.parametrize("keys", [[(0,), (7,), (-3,), (2**63 - 1,)], [(0, 1), (1, 0), (5, -2), (2**40, 9)]])
@pytest.mark.parametrize(("seed", "step"), [(0, 0), (2**63 - 1, -1)])
def test_draws_are_those_of_the_reference(keys: list[tuple[int, ...]], seed: int, step: int) -> None:
    rows = torch.tensor(keys)
    uniform, normal = Noise(seed, step).uniform("p", rows, 3), Noise(seed, step).normal("p", rows, 3)
    for (b, key), i in itertools.product(enumerate(keys), range(3)):
        word = bits("uniform p", seed, step, key, i // 2) >> 32 * (i % 2) & 0xFFFFFFFF
        assert float(uniform[b, i]) == ((word >> 8) ^ (1 << 23)) / 2**24
        part = (bits("normal p", seed, step, key, i) >> 12) ^ (1 << 51)
        assert float(normal[b, i]) == pytest.approx(stats.norm.ppf((part + 0.5) / 2**52), rel=1e-6)


def test_the_extremes_are_in_range(monkeypatch: pytest.MonkeyPatch) -> None:
    words = torch.tensor([[-1, 0, 1, -(2**63), 2**63 - 1]])
    monkeypatch.setattr(noise, "_bits", lambda *_: words.clone())
    uniform, normal = Noise().uniform("p", ROWS[:1], 10), Noise().normal("p", ROWS[:1], 5)
    assert uniform.min() == 0
    assert uniform.max() == 1 - 2.0**-24
    assert normal[0, 3] == -normal[0, 4]
    assert 8.2 < normal.max() < 8.3


def test_weights_are_drawn_as_ever() -> None:
    assert stream(0, "init", "trunk").initial_seed() == 4786995033380756803


# --- what a draw depends on ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [ROWS, PAIRS])
@pytest.mark.parametrize("draw", [Noise(1, 5).uniform, Noise(1, 5).normal])
def test_a_draw_depends_on_its_own_key_alone(draw: Callable[..., Tensor], rows: Tensor) -> None:
    whole = draw("p", rows, 3, 5)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    assert torch.equal(draw("p", rows[order], 3, 5), whole[order])
    assert torch.equal(draw("p", rows.int(), 3, 5), whole)
    assert torch.equal(torch.cat([draw("p", part, 3, 5) for part in rows.split(7)]), whole)
    assert torch.equal(draw("p", rows, 17).flatten(1)[:, :15], whole.flatten(1))


def test_every_part_of_the_key_counts() -> None:
    drawn = [
        Noise(seed, step).uniform(purpose, rows, 4)
        for seed, step, purpose, rows in itertools.product((0, 1, 10), (-1, 0, 1), ("p", "p1", "1"), (ROWS, PAIRS))
    ]
    drawn.append(Noise(0, 0).normal("p", ROWS, 4))
    assert len(torch.cat(drawn).unique(dim=0)) == sum(map(len, drawn))  # pairs and swapped pairs among them
    assert torch.equal(Noise().uniform("p", ROWS, 4), Noise().uniform("p", ROWS[:, None], 4))


@pytest.mark.parametrize("draw", [Noise().uniform, Noise().normal])
def test_shapes(draw: Callable[..., Tensor]) -> None:
    for rows, shape in itertools.product((ROWS[:0], PAIRS[:0], ROWS[:3], PAIRS[:3]), ((), (1,), (0,), (2, 0), (3, 5))):
        drawn = draw("p", rows, *shape)
        assert drawn.shape == (len(rows), *shape)
        assert drawn.dtype == torch.float32
        assert drawn.is_contiguous()
        assert draw("p", rows.to("meta"), *shape).shape == drawn.shape
    for wrong in (torch.zeros(3), torch.tensor(1), torch.zeros(1, 2, 3).long(), PAIRS[:, :0]):
        with pytest.raises(TypeError, match="expected integers"):
            draw("p", wrong, 2)


def test_compiled_it_is_in_the_graph_and_a_step_needs_no_other() -> None:
    def function(rows: Tensor, seed: int, step: int) -> Tensor:
        made = Noise(seed, step)
        return made.uniform("p", rows, 2, 3) + made.normal("q", rows, 3)[:, None]

    for rows in (ROWS, PAIRS):
        torch._dynamo.reset()
        counter = CompileCounter()
        compiled = torch.compile(function, backend=counter, fullgraph=True)
        for step in (0, 1, 2, 3, 50, -1, 4):
            assert torch.equal(compiled(rows, 3, step), function(rows, 3, step))
        assert counter.frame_count <= 2  # the first value of a number is taken for a constant, the second is not
        assert torch.equal(compiled(rows, 2**62, 4), function(rows, 2**62, 4))


# --- randomness ------------------------------------------------------------------------------------------------------


def p_values(rows: Tensor) -> dict[str, float]:
    """How likely numbers as odd as these are if they are uniform and independent, by what was looked at."""
    steps = torch.stack([Noise(3, step).uniform("p", rows, 64) for step in range(-1, 7)]).double().numpy()
    other = np.stack([Noise(3, step).uniform("q", rows, 64).double().numpy() for step in range(-1, 7)])
    found = {
        "values": stats.kstest(steps.ravel(), "uniform").pvalue,
        "row means": stats.kstest((steps.mean(-1).ravel() - 0.5) * (12 * 64) ** 0.5, "norm").pvalue,
        "low bits": even((steps * 2**24).astype(int).ravel() % 256, 256),
        "high bits": even((steps * 256).astype(int).ravel(), 256),
    }
    neighbours = {
        "rows": (steps[:, 1:], steps[:, :-1]),
        "steps": (steps[1:], steps[:-1]),
        "elements": (steps[..., 1:], steps[..., :-1]),
        "next but one": (steps[..., 2:], steps[..., :-2]),
        "purposes": (steps, other),
    }
    for name, (a, b) in neighbours.items():
        found[f"correlation of {name}"] = stats.pearsonr(a.ravel(), b.ravel()).pvalue
        cells = (a * 16).astype(int) * 16 + (b * 16).astype(int)
        found[f"pairs of {name}"] = even(cells.ravel(), 256)
    return found


def even(cells: np.ndarray, count: int) -> float:
    """The chi-square test that cells 0..count-1 are hit alike."""
    return float(stats.chisquare(np.bincount(cells, minlength=count)).pvalue)


@pytest.mark.parametrize("rows", [ROWS, PAIRS, ROWS * 2**32, -ROWS])
def test_draws_are_uniform_and_independent(rows: Tensor) -> None:
    found = p_values(rows)
    assert min(found.values()) > 1e-4, found


BAD: dict[str, Callable[[Tensor], Tensor]] = {
    "no finaliser": lambda x: x,
    "one product": lambda x: x * noise._FIRST,
    "one shift": lambda x: noise._xorshift(x, 30, torch.empty_like(x)),
}


@pytest.mark.parametrize("mixer", BAD)
def test_a_bad_mixer_is_seen(monkeypatch: pytest.MonkeyPatch, mixer: str) -> None:
    monkeypatch.setattr(noise, "_mixed", BAD[mixer])
    assert min(p_values(ROWS).values()) < 1e-12
    assert imbalance() > 0.2


def imbalance() -> float:
    """How far the chance that one bit of a mixed number turns another of the result is from a half, of the worst of
    64 x 64 pairs, each over 4096 numbers."""
    x = torch.arange(4096) * noise._GAMMA
    flipped = x[:, None] ^ (torch.ones(64, dtype=torch.long) << torch.arange(64))
    turned = noise._mixed(flipped) ^ noise._mixed(x)[:, None]
    share = ((turned[..., None] >> torch.arange(64)) & 1).double().mean(0)
    return float((share - 0.5).abs().max())


def test_one_bit_of_a_key_turns_half_of_the_result() -> None:
    assert imbalance() < 5 * 0.5 / 4096**0.5  # five standard deviations of a mean of 4096 bits


def test_normal_draws_are_normal() -> None:
    drawn = torch.stack([Noise(3, step).normal("p", ROWS, 64) for step in range(8)]).double().numpy()
    n = drawn.size
    assert stats.kstest(drawn.ravel(), "norm").pvalue > 1e-3
    expected = {1: (0, 1), 2: (1, 2), 3: (0, 15), 4: (3, 96)}  # moments and the variances of such a power
    for power, (mean, variance) in expected.items():
        assert abs((drawn**power).mean() - mean) < 4 * (variance / n) ** 0.5
    for axis in range(3):
        a, b = np.split(drawn, 2, axis)
        assert stats.pearsonr(a.ravel(), b.ravel()).pvalue > 1e-3
