"""Each freedom that the contracts promise, proven by a toy part that passes the whole suite."""

from __future__ import annotations

from typing import Any

import pytest

from lllm.check.model import TESTS, check_composition
from lllm.registry import Registry
from tests.check import ends, heads, layers, stacks
from tests.check.compositions import toy, toys

YOCO = {"trunk": "toy_yoco", "mixer": "toy_cross"}
LEGAL: dict[str, dict[str, Any]] = {
    "a block that runs the positions above a threshold": {"block": "toy_threshold"},
    "such a block over a recurrent mixer": {"block": "toy_threshold", "mixer": "toy_decay", "ffn": "toy_shift"},
    "a block that trains by top-k and says so": {"block": "toy_top_k"},
    "an ffn shared by layers": {"block": "toy_sharing", "trunk": "toy_sharing"},
    "an ffn shared by the layers of a trunk that knows nothing of it": {"block": "toy_sharing"},
    "an ffn shared by the layers inside a head": {
        "head": {"use": "local_ar", "width": 8, "mixer": {"use": "attention", "heads": 2}, "block": "toy_sharing"}
    },
    "a mixer in its parallel form only": {"mixer": "toy_parallel"},
    "a recurrent mixer with a carried state": {"mixer": "toy_decay", "ratio": 3},
    "a mixer that reads what the trunk lends": {"mixer": "toy_reader", "trunk": "toy_lender"},
    "an ffn with a token shift": {"ffn": "toy_shift"},
    "noise, an auxiliary loss and a batch statistic": {"ffn": "toy_noisy"},
    "an embedding that carries a state": {"embedding": "toy_bigram"},
    "a downsampler that looks back": {"downsampler": "toy_window", "ratio": 2},
    "a token-level head at a fixed ratio": {"downsampler": "toy_tokens", "head": "toy_token"},
    "a token-level head at ratio 3": {"downsampler": "toy_tokens", "head": "toy_token", "ratio": 3},
    "a learned number of latents": {"downsampler": "toy_dynamic", "head": "toy_token"},
    "a non-causal prefix": {"visibility": "toy_prefix", "ratio": 2},
    "a non-causal prefix at ratio 4": {"visibility": "toy_prefix", "head": "local_ar"},
    "a non-causal prefix at token level": {
        "visibility": "toy_prefix",
        "downsampler": "toy_tokens",
        "head": "toy_token",
    },
    "a non-causal prefix over a parallel mixer": {"visibility": "toy_prefix", "mixer": "toy_parallel", "ratio": 3},
    "a prefix of random length in training": {"visibility": "toy_random_prefix", "ratio": 2},
    "coarse to fine": {"head": "toy_var"},
    "coarse to fine at ratio 7": {"head": "toy_var", "ratio": 7},
    "several likelihoods, one a bound": {"head": "toy_diffusion"},
    "several likelihoods at ratio 3": {"head": "toy_diffusion", "ratio": 3},
    "a head that carries a state over chunks": {"head": "toy_stateful"},
    "a head without categorical conditionals": {"head": "toy_sampler", "ratio": 3},
    "several likelihoods over a prefix": {"head": "toy_diffusion", "ratio": 2, "visibility": "toy_prefix"},
    "a cache lent by the trunk, above which a prompt leaves early": YOCO,
    "such a cache under a token shift, which forbids it": {**YOCO, "ffn": "toy_shift"},
    "such a cache under a block that gathers": {**YOCO, "block": "toy_gather"},
    "such a cache and a prefix, whose outputs nobody wants": {
        **YOCO,
        "trunk": {"use": "toy_yoco", "below": "toy_parallel"},
        "visibility": "toy_prefix",
        "ratio": 2,
    },
    "such a cache under a head that needs every latent": {**YOCO, "head": "toy_stateful"},
    "layers that run twice": {"trunk": "toy_repeated", "ratio": 3},
    "layers that run twice and share an ffn": {"trunk": "toy_repeated", "mixer": "toy_decay", "ffn": "toy_shift"},
    "a trunk around a trunk": {"trunk": {"use": "toy_wrapping", "inner": {"use": "uniform", "depth": 2}}},
    "a trunk around one that lends": {"trunk": {"use": "toy_wrapping", "inner": "toy_yoco"}, "mixer": "toy_cross"},
    "a block that gathers": {"block": "toy_gather"},
    "a block that gathers over a recurrence": {"block": "toy_gather", "mixer": "toy_decay", "ffn": "toy_shift"},
    "a mixer that begins anew with each document": {"mixer": "toy_document"},
    "an operator that torch does not know": {"ffn": "toy_custom"},
    "what a downsampler says of each token": {"downsampler": "toy_dynamic_lending", "head": "toy_confident"},
    "what it says of each token at a fixed ratio": {"downsampler": "toy_lending", "head": "toy_confident", "ratio": 3},
}


@pytest.mark.parametrize("case", LEGAL)
def test_legal_compositions_pass(registry: Registry, case: str) -> None:
    known = registry.with_parts(*toys(layers, ends, heads, stacks))
    assert check_composition(known, toy(known, **LEGAL[case]), case, tests=TESTS) == []
