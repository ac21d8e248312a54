"""Negative controls: each broken part fails, and fails the tests that are known to see its fault (for each test, in at
least one of five draws of the weights). A control that passes would be a fault of the suite."""

from __future__ import annotations

from typing import Any

import pytest

from lllm.check.model import TESTS, check_composition
from lllm.registry import Registry
from tests.check import controls, ends, heads, layers, stacks, toys_more
from tests.check.compositions import toy, toys

LEAK = "PROBE T-JAC T-NORM T-GEN T-COND"
PREFIX = {"visibility": "toy_prefix"}
TOKENS = {"downsampler": "bad_tokens_ahead", "head": "toy_token"}

CONTROLS: dict[str, tuple[dict[str, Any], str]] = {
    "shift removed": ({"downsampler": "bad_no_shift"}, LEAK),
    "shift removed, ratio 2": ({"downsampler": "bad_no_shift", "ratio": 2}, LEAK),
    "encoder looks ahead beside a token skip": (TOKENS, LEAK),
    "an embedding that looks ahead": ({"embedding": "bad_ahead"}, LEAK),
    "an embedding that forgets": ({"embedding": "bad_forgets"}, "T-GEN"),
    "shifted twice": ({"downsampler": "bad_shifted_twice"}, "T-FRESH T-GEN FORM"),
    "symmetric convolution, ratio 4": ({"downsampler": "bad_symmetric"}, "PROBE T-JAC T-GEN FORM T-NORM"),
    "symmetric convolution, ratio 8": (
        {"downsampler": "bad_symmetric", "ratio": 8},
        "PROBE T-JAC T-GEN FORM",
    ),
    "top-k over the sequence at evaluation": ({"block": "bad_top_k"}, "PROBE T-GEN T-PAD"),
    "own token visible to the denoiser": ({"head": "bad_own_token"}, "T-JAC T-NORM T-GEN"),
    "prefix with loss inside it": (
        {"visibility": "bad_loss_inside", "ratio": 2},
        "LINT T-NORM",
    ),
    "prefix off by one": ({"visibility": "bad_off_by_one", "ratio": 2}, "LINT"),
    "peeking at the length": ({"ffn": "bad_length"}, "PROBE T-GEN"),
    "a slot reads its own scale": ({"head": "bad_own_scale"}, "T-JAC T-GEN"),
    "a pseudo-likelihood": ({"head": "bad_pseudo"}, "T-NORM"),
    "pads cached": ({"mixer": "bad_pads"}, "T-GEN"),
    "invalid positions update a recurrence": ({"mixer": "bad_updates"}, "T-GEN"),
    "positions local to a call": ({"mixer": "bad_positions"}, "T-GEN GATHER"),
    "state updated in place": ({"mixer": "bad_in_place"}, "T-FORK"),
    "a latent valid when any slot is": ({"downsampler": "bad_any_valid"}, "T-GEN"),
    "top-k in training, undeclared": ({"block": "bad_undeclared_top_k"}, "PROBE"),
    "a token shift undeclared": ({"ffn": "bad_undeclared_shift"}, "FFN"),
    "FLOPs forgotten": ({"mixer": "bad_cost"}, "COST"),
    "noise from the global generator": ({"ffn": "bad_noise"}, "NOISE"),
    "noise in evaluation": ({"ffn": "bad_random"}, "PROBE"),
    "leaving early below a token shift": (
        {"trunk": "bad_leaves", "mixer": "toy_cross", "ffn": "toy_shift"},
        "T-GEN",
    ),
    "a recurrence called position-wise": ({"mixer": "bad_position_wise"}, "FFN"),
    "such a recurrence above a cache": ({"mixer": "bad_position_wise", "trunk": "toy_yoco"}, "FFN T-GEN"),
    "gathering that is not counted": ({"block": "bad_uncounted"}, "COST"),
    "lending what is known later": ({"downsampler": "bad_lends_ahead", "head": "toy_confident"}, f"{LEAK} FORM"),
}

BLIND: dict[str, str] = {
    "shifted twice": "T-JAC T-NORM T-PAD",
    "peeking at the length": "T-JAC T-NORM T-COND",
    "a slot reads its own scale": "T-NORM",
    "a pseudo-likelihood": "T-JAC T-GEN",
}
"""Tests that cannot see a fault: why none of the others is redundant."""


@pytest.mark.parametrize("case", CONTROLS)
def test_controls_fail(registry: Registry, case: str) -> None:
    known = registry.with_parts(*toys(layers, ends, heads, stacks, controls, toys_more))
    nodes, expected = CONTROLS[case]
    failures = {f.test: f.message for f in check_composition(known, toy(known, **nodes), case, tests=TESTS)}
    missed = set(expected.split()) - set(failures)
    assert not missed, failures
    assert not any("Error: " in message for message in failures.values()), failures  # it fails, it does not crash
    assert not set(BLIND.get(case, "").split()) & set(failures), failures
