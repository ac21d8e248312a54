"""Generated settings, valid and broken: either everything is decided, or one sentence says why not."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lllm.config import Resolved, load_experiment, resolve, restore, split_words
from lllm.config.yaml import read_yaml
from lllm.errors import UserError
from lllm.identity import arm
from lllm.registry import Registry
from lllm.registry.discovery import shipped
from tests.config.helpers import with_toys

GOOD = [
    "data", "model", "train", "eval", "budget", "run", "tokenizer", "corpus", "hypothesis", "base", "variants", "seeds",
    "match", "baseline", "decide", "wandb", "device", "nproc", "context", "multiple", "ratio", "width", "token_width",
    "mixer", "head", "trunk", "ffn", "heads", "depth", "hidden", "use", "batch", "lr", "clip", "precision", "optimizer",
    "objective", "adapter", "steps", "bytes", "flops", "seconds", "path", "params", "knob", "micro_batch", "launcher",
]  # fmt: skip
VALUES: list[Any] = [
    "attention", "local_ar", "parallel", "swiglu", "uniform", "text", "byte", "adamw", "20MB", "1%", "float32", "cpu",
    "offline", "quickstart", "a", 0, 1, 2, 3, 4, 8, 64, 1e-3, 0.5, 1e300, -1, 2**62, True, None, "", [], {},
]  # fmt: skip

text = st.text(max_size=12)
near = st.sampled_from(GOOD).flatmap(
    lambda name: st.sampled_from([name[:-1], f"{name}s", name[::-1], name.upper(), f"{name}.", f"{name}.{name}"])
)
key = st.one_of(
    st.sampled_from(GOOD),
    st.lists(st.sampled_from(GOOD), min_size=2, max_size=3).map(".".join),
    near,
    text,
)
scalar = st.one_of(
    st.sampled_from(VALUES), st.integers(), st.floats(), st.booleans(), text, st.binary(max_size=4).map(repr)
)
value = st.recursive(
    scalar, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(key, inner, max_size=4), max_leaves=12
)
document = st.dictionaries(key, value, max_size=6)
near_valid = st.fixed_dictionaries(
    {"hypothesis": st.just("x"), "budget": st.sampled_from([{"steps": 3}, {"bytes": "1MB"}, {"flops": "a"}])},
    optional={
        "data": st.dictionaries(st.sampled_from(["context", "multiple"]), st.sampled_from([8, 16, 64, 0, "x"])),
        "model": st.dictionaries(st.sampled_from(["ratio", "width", "head", "mixer.heads", "trunk.depth"]), value),
        "train": st.dictionaries(st.sampled_from(["batch", "lr", "clip", "optimizer", "schedule.warmup"]), value),
        "variants": st.dictionaries(st.sampled_from(["a", "b", "c-d"]), document | st.none(), min_size=1, max_size=3),
        "seeds": st.lists(st.integers(-1, 3), max_size=3),
    },
)


@pytest.fixture(scope="module")
def parts(registry: Registry) -> Registry:
    return with_toys(registry)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def decide(path: Path, registry: Registry, words: list[str]) -> list[Resolved | str]:
    """Every variant, or the sentence that refuses it."""
    try:
        experiment = load_experiment(str(path))
        variants, overrides = split_words(words, experiment)
    except UserError as error:
        return [str(error)]
    found: list[Resolved | str] = []
    for variant in variants:
        try:
            found.append(resolve(experiment, variant, overrides, registry))
        except UserError as error:
            found.append(str(error))
    return found


def believe(found: list[Resolved | str], registry: Registry) -> None:
    """A refusal says something; what is accepted has an identity, and is restored from its record."""
    for one in found:
        if isinstance(one, str):
            assert len(one) > 10
            continue
        assert len(arm(one.delta(), {"steps": 1})) == 32
        record = json.loads(json.dumps([one.semantic(), one.execution()], allow_nan=False))
        assert restore(one.experiment, one.variant, *record, registry).delta() == one.delta()


FUZZ = settings(max_examples=2500, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@FUZZ
@given(settings=st.one_of(document, near_valid), words=st.lists(st.tuples(key, scalar), max_size=2))
def test_generated_experiments(parts: Registry, folder: Path, settings: dict[str, Any], words: list[Any]) -> None:
    path = folder / "fuzz.yaml"
    path.write_text(json.dumps(settings), encoding="utf-8")
    believe(decide(path, parts, [f"{k}={v}" for k, v in words]), parts)


@FUZZ
@given(
    words=st.lists(st.one_of(st.tuples(key, st.one_of(scalar, value.map(json.dumps))), text.map(lambda t: (t, None))))
)
def test_generated_command_lines(parts: Registry, words: list[tuple[str, Any]]) -> None:
    path = shipped("experiments") / "quickstart.yaml"
    believe(decide(path, parts, [k if v is None else f"{k}={v}" for k, v in words]), parts)


@FUZZ
@given(
    raw=st.one_of(st.binary(max_size=60), st.text(max_size=60), st.text("ab:- []{}\n'\"#&*!|>%@?,.1e\t", max_size=60))
)
def test_generated_files(folder: Path, raw: bytes | str) -> None:
    path = folder / "raw.yaml"
    path.write_bytes(raw if isinstance(raw, bytes) else raw.encode("utf-8"))
    try:
        sentence = f"raw.yaml holds {len(read_yaml(path).values)} settings"
    except UserError as error:
        sentence = str(error)
    assert "raw.yaml" in sentence


def test_the_generator_reaches_both_ends(parts: Registry, folder: Path) -> None:
    """Without this, a generator that only ever breaks things would prove nothing about valid settings."""
    path = folder / "ends.yaml"
    path.write_text(json.dumps({"hypothesis": "x", "budget": {"steps": 3}, "variants": {"a": {}, "b": {"model": 3}}}))
    found = decide(path, parts, [])
    assert isinstance(found[0], Resolved)
    assert isinstance(found[1], str)
    believe(found, parts)
