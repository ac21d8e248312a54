"""What parts inside parts may do: compositions of toys that the whole conformance suite accepts."""

from __future__ import annotations

from typing import Any

import pytest

from lllm.check.model import TESTS, check_composition
from lllm.registry import Registry
from tests.check import ends, heads, layers
from tests.check.compositions import toy, toys

LOCAL = {"use": "local_ar", "width": 8, "mixer": {"use": "attention", "heads": 2}}
CASES: dict[str, dict[str, Any]] = {
    "a token-level head with a state": {"downsampler": "toy_tokens", "head": "toy_token_stateful", "ratio": 3},
    "a token-level head with a state over a learned number of latents": {
        "downsampler": "toy_dynamic",
        "head": "toy_token_stateful",
    },
    "a token-level head with a state over a prefix": {
        "visibility": "toy_prefix",
        "downsampler": "toy_tokens",
        "head": "toy_token_stateful",
        "ratio": 2,
    },
    "a parallel mixer that reads what the trunk lends": {"mixer": "toy_parallel_reader", "trunk": "toy_lender"},
    "noise inside a head": {"head": {**LOCAL, "ffn": "toy_noisy"}, "ratio": 3},
    "recurrence and a token shift inside a head": {
        "head": {"use": "local_ar", "width": 8, "mixer": "toy_decay", "ffn": "toy_shift"},
        "ratio": 3,
    },
}


@pytest.mark.parametrize("case", CASES)
def test_the_suite_accepts(registry: Registry, case: str) -> None:
    known = registry.with_parts(*toys(layers, ends, heads))
    assert check_composition(known, toy(known, **CASES[case]), case, seeds=range(2), tests=TESTS) == []
