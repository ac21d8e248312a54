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
    "time", "design", "stack",
]  # fmt: skip
VALUES: list[Any] = [
    "attention", "local_ar", "parallel", "swiglu", "uniform", "text", "byte", "adamw", "20MB", "1%", "float32", "cpu",
    "offline", "quickstart", "a", 0, 1, 2, 3, 4, 8, 64, 1e-3, 0.5, 1e300, -1, 2**62, True, None, "", [], {},
    "add_one_in", "full_factorial",
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
VALID: dict[str, list[Any]] = {
    "model.ratio": [1, 2, 4, 8],
    "model.width": [2, 32, 128],
    "model.token_width": [None, 16],
    "model.mixer": ["attention", {"use": "attention", "heads": 2}, {"qk_norm": False}],
    "model.mixer.rope_base": [10_000.0, 500],
    "model.head": ["parallel", {"use": "local_ar", "depth": 3}],
    "model.trunk": [{"use": "pattern", "mixers": ["attention"], "depth": 2}, {"depth": 2}],
    "data.context": [64, 256],
    "train.batch": [4, 64],
    "train.lr": [None, 1e-3, 3e-3],
    "train.optimizer": ["muon", "adamw", {"weight_decay": 0.0}],
    "train.schedule": ["wsd", {"use": "cosine", "floor": 0}],
    "corpus": ["text", {"use": "text", "document": "16KB"}],
    "eval.bytes": [None, "1MB", 5],
    "budget": [{"steps": 2}, {"bytes": "20MB"}, {"flops": 1e13}, {"seconds": 1}],
    "nproc": [1, 4],
    "run.wandb": ["off", "offline"],
}
valid = st.fixed_dictionaries({}, optional={path: st.sampled_from(values) for path, values in VALID.items()})


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


def question(folder: Path, settings: dict[str, Any]) -> Path:
    """An experiment's file with these settings; JSON is YAML."""
    path = folder / "fuzz.yaml"
    path.write_text(json.dumps({"hypothesis": "x", "budget": {"steps": 3}, **settings}), encoding="utf-8")
    return path


def believe(found: list[Resolved | str], registry: Registry) -> None:
    """A refusal says something; what is accepted has an identity, and is restored from its record."""
    for one in found:
        if isinstance(one, str):
            assert len(one) > 10
            continue
        assert len(arm(one.delta(), {"steps": 1})) == 32
        semantic, execution = json.loads(json.dumps([one.semantic(), one.execution()], allow_nan=False))
        assert restore(one.experiment, one.variant, semantic, execution, registry).delta() == one.delta()


FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@FUZZ
@given(changes=valid)
def test_valid_settings_are_decided_and_restored(parts: Registry, folder: Path, changes: dict[str, Any]) -> None:
    changes.pop("model.mixer.rope_base" if isinstance(changes.get("model.mixer"), dict) else "", None)
    found = decide(question(folder, {"variants": {"a": changes}}), parts, [])
    assert [type(one) for one in found] == [Resolved], found
    believe(found, parts)


@FUZZ
@given(changes=valid, broken=st.dictionaries(st.one_of(st.sampled_from([*VALID]), key), value, min_size=1, max_size=2))
def test_broken_settings_are_decided_or_refused(
    parts: Registry, folder: Path, changes: dict[str, Any], broken: dict[str, Any]
) -> None:
    believe(decide(question(folder, {"variants": {"a": {**changes, **broken}}}), parts, []), parts)
    believe(decide(question(folder, {**changes, **broken}), parts, []), parts)


@FUZZ
@given(
    kind=st.sampled_from(["leave_one_out", "add_one_in", "full_factorial"]),
    stack=st.dictionaries(st.sampled_from("abc"), valid, max_size=3),
    broken=st.dictionaries(st.sampled_from("abcd"), document, max_size=1),
)
def test_designs_are_decided_or_refused(
    parts: Registry, folder: Path, kind: str, stack: dict[str, Any], broken: dict[str, Any]
) -> None:
    believe(decide(question(folder, {"design": kind, "stack": {**stack, **broken}}), parts, []), parts)


@FUZZ
@given(settings=document, words=st.lists(st.tuples(key, scalar), max_size=2))
def test_generated_experiments(parts: Registry, folder: Path, settings: dict[str, Any], words: list[Any]) -> None:
    believe(decide(question(folder, settings), parts, [f"{k}={v}" for k, v in words]), parts)


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
