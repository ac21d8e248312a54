"""LEARNS itself: what can be learned is learned, and not without training."""

from __future__ import annotations

from lllm.check.training import Toy, learns
from lllm.registry import Registry
from tests.check import layers
from tests.check.compositions import toy, toys


def test_an_untrained_model_learned_nothing(registry: Registry) -> None:
    """The negative control."""
    assert "still costs" in str(learns(registry, toy(registry), steps=0))


def test_a_part_with_an_auxiliary_loss_and_noise_learns(registry: Registry) -> None:
    known = registry.with_parts(*toys(layers))
    assert learns(known, toy(known, ffn="toy_noisy", downsampler="conv")) is None


def test_the_text_has_its_period() -> None:
    for document in Toy().documents("valid"):
        assert document.raw[8:] == document.raw[:-8]
        assert len(set(document.raw[:8])) > 4
