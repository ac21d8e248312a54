"""The training tests themselves: a leak is worth nats to an optimizer, and what can be learned is learned."""

from __future__ import annotations

import math

import pytest

from lllm.check.training import SYMBOLS, Toy, guesses, learns, trained
from lllm.registry import Registry
from tests.check import controls, ends, heads, layers
from tests.check.compositions import toy, toys


@pytest.mark.parametrize("control", ["bad_no_shift", "bad_symmetric"])
def test_a_leak_predicts_what_cannot_be_predicted(registry: Registry, control: str) -> None:
    known = registry.with_parts(*toys(layers, ends, heads, controls))
    assert "independent uniform symbols are predicted" in str(
        guesses(known, toy(known, downsampler=control), steps=150)
    )


def test_an_untrained_model_learned_nothing(registry: Registry) -> None:
    """Negative control of the mirror, and the uniform text costs about ln 16 without any training."""
    assert "still costs" in str(learns(registry, toy(registry), steps=0))
    nats, error, kind = trained(registry, toy(registry), "iid", 0)
    assert kind == "exact"
    assert nats > math.log(SYMBOLS) - 3 * error


def test_a_part_with_an_auxiliary_loss_and_noise_learns(registry: Registry) -> None:
    known = registry.with_parts(*toys(layers))
    assert learns(known, toy(known, ffn="toy_noisy", downsampler="conv")) is None


def test_the_two_splits_differ() -> None:
    """Equal splits would let the model remember, and pass for a leak."""
    made = Toy("iid")
    train, valid = ({d.raw for d in made.documents(split)} for split in ("train", "valid"))
    assert len(train) > 300
    assert not train & valid
