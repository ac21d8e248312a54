"""What makes two runs the same run, and what does not."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lllm.config import Eval, load_experiment, resolve, split_words
from lllm.config.tree import Tree
from lllm.errors import UserError
from lllm.identity import arm, canonical, code_fingerprint, evaluator_fingerprint
from lllm.registry import Part, PartConfig, Registry, load_registry, register
from tests.config.helpers import PLAIN, resolved, with_toys, write

BUDGET = {"steps": 10}
GOLDEN = """
hypothesis: fixed
data: {context: 64}
model: {width: 32, ratio: 2, trunk.depth: 2, mixer: {use: attention, heads: 2}, ffn: relu2, head: parallel}
train: {lr: 2e-3, batch: 4, schedule: wsd}
corpus: {use: text, split: 0.8}
budget: {bytes: 1MB}
"""


def identity(cwd: Path, registry: Registry, text: str = PLAIN, *words: str) -> str:
    return arm(resolved(cwd, registry, text, *words).delta(), BUDGET)


@pytest.fixture
def plain(tmp_path: Path, registry: Registry) -> str:
    return identity(tmp_path, registry)


@pytest.mark.parametrize(
    "word",
    [
        "model.width=64",
        "model.trunk.depth=3",
        "model.ratio=2",
        "model.token_width=32",
        "model.mixer.heads=1",
        "model.ffn=relu2",
        "model.ffn.hidden=344",
        "model.head=parallel",
        "data.context=128",
        "data.multiple=16",
        "train.batch=8",
        "train.lr=1e-5",
        "train.clip=null",
        "train.precision=bfloat16",
        "train.optimizer=adamw",
        "train.schedule.floor=0.0",
        "eval.bytes=null",
        "corpus=text",
        "corpus.valid=0.2",
    ],
)
def test_any_semantic_field_changes_the_arm(tmp_path: Path, registry: Registry, plain: str, word: str) -> None:
    assert identity(tmp_path, registry, PLAIN, word) != plain


@pytest.mark.parametrize(
    "word",
    [
        "device=cpu",
        "micro_batch=4",
        "threads=1",
        "compile=true",
        "nproc=2",
        "nnodes=2",
        "workers=2",
        "results=/elsewhere",
        "log_every=1",
        "eval_every=7",
        "checkpoint_seconds=1",
        "wandb=offline",
        "run.launcher.shell=true",
    ],
)
def test_no_execution_field_changes_the_arm(tmp_path: Path, registry: Registry, plain: str, word: str) -> None:
    assert identity(tmp_path, registry, PLAIN, word) == plain


@pytest.mark.parametrize(
    "words",
    [
        ["model.width=128"],
        ["model.mixer=attention"],
        ["model.mixer={use: attention, rope_base: 10000.0}"],
        ["model.mixer.rope_base=10000"],
        ["model.trunk.depth=4"],
        ["train.batch=16", "train.clip=1"],
        ["train.lr=1e-2"],
        ["eval.bytes=131072"],
        ["train.adapter=null"],
        ["model.ffn.hidden=null"],
        ["model.head.mixer={use: attention, qk_norm: true}"],
        ["model.head={use: local_ar, ffn: {use: swiglu}}"],
        ["tokenizer=byte"],
    ],
)
def test_a_default_written_out_is_a_default_left_out(
    tmp_path: Path, registry: Registry, plain: str, words: list[str]
) -> None:
    assert identity(tmp_path, registry, PLAIN, *words) == plain


def test_the_learning_rate_written_out_follows_the_optimizer(tmp_path: Path, registry: Registry) -> None:
    usual = float(registry.get("optimizer", "adamw").cls.default_lr)  # type: ignore[attr-defined]
    other = identity(tmp_path, registry, PLAIN, "train.optimizer=adamw")
    assert identity(tmp_path, registry, PLAIN, "train.optimizer=adamw", f"train.lr={usual!r}") == other
    assert resolved(tmp_path, registry, PLAIN, "train.optimizer=adamw", f"train.lr={usual!r}").lr == usual


def test_key_order_and_spelling_do_not_count(tmp_path: Path, registry: Registry) -> None:
    one = PLAIN + "model: {width: 64, mixer: {heads: 2, use: attention}}\ntrain: {batch: 8}\n"
    two = "train.batch: 8\nmodel.mixer: {use: attention, heads: 2}\nmodel.width: 64\n" + PLAIN
    assert identity(tmp_path, registry, one) == identity(tmp_path, registry, two)


def test_names_siblings_seeds_and_questions_do_not_count(tmp_path: Path, registry: Registry, plain: str) -> None:
    text = (
        "hypothesis: another\nseeds: [4, 5]\nbudget: {bytes: 3MB}\nvariants: {renamed: {}, sibling: {model.width: 8}}\n"
    )
    assert identity(tmp_path, registry, text) == plain
    write(tmp_path, PLAIN, "other")
    other = resolve(load_experiment("other", tmp_path), "base", Tree(), with_toys(registry))
    assert arm(other.delta(), BUDGET) == plain


def test_the_budget_counts_as_steps_or_as_seconds(tmp_path: Path, registry: Registry) -> None:
    delta = resolved(tmp_path, registry).delta()
    arms = {arm(delta, {"steps": 10}), arm(delta, {"steps": 11}), arm(delta, {"seconds": 10.0})}
    assert len(arms) == 3
    by_bytes = resolved(tmp_path, registry, PLAIN, "budget={bytes: 1MB}").delta()
    assert arm(by_bytes, {"steps": 10}) == arm(delta, {"steps": 10})
    with pytest.raises(TypeError, match="expected"):
        arm(delta, {"bytes": 3})
    with pytest.raises(TypeError, match="expected"):
        arm(delta, {})


class Toy(Part):
    kind = "mixer"


@register("mixer", "toy")
class Before(Toy):
    """Before."""

    class Config(PartConfig):
        """size: an option."""

        size: int = 3


@register("mixer", "toy")
class After(Toy):
    """After: one more option, with a default."""

    class Config(PartConfig):
        """size, share: options."""

        size: int = 3
        share: float = 0.5


@register("mixer", "toy", version=2)
class Meant(Toy):
    """After a changed meaning."""

    class Config(PartConfig):
        """size: an option."""

        size: int = 3


@register("mixer", "renamed")
class Renamed(Toy):
    """The same under another name."""

    class Config(PartConfig):
        """size: an option."""

        size: int = 3


def test_a_new_option_orphans_no_run_but_a_new_version_or_name_does(tmp_path: Path, registry: Registry) -> None:
    before, after, meant, renamed = (registry.with_parts(cls) for cls in (Before, After, Meant, Renamed))
    toy = identity(tmp_path, before, PLAIN, "model.mixer=toy")
    assert identity(tmp_path, before, PLAIN, "model.mixer={use: toy, size: 3}") == toy
    assert identity(tmp_path, after, PLAIN, "model.mixer=toy") == toy
    assert identity(tmp_path, after, PLAIN, "model.mixer={use: toy, share: 0.5}") == toy
    assert identity(tmp_path, after, PLAIN, "model.mixer={use: toy, share: 0.6}") != toy
    assert identity(tmp_path, meant, PLAIN, "model.mixer=toy") != toy
    assert identity(tmp_path, renamed, PLAIN, "model.mixer=renamed") != toy


def test_golden_identities(tmp_path: Path, registry: Registry) -> None:
    """These never change: an old run must be found again. A failure means that a default or the rule has moved."""
    assert identity(tmp_path, registry) == "8deb8c1145cccb65d3b3a06310065dd8"
    fixed = resolved(tmp_path, registry, GOLDEN)
    assert arm(fixed.delta(), {"steps": 500}) == "0290dd0b2a3967f75ebe63a7396d07da"


def test_a_changed_default_must_raise_the_meaning(tmp_path: Path, registry: Registry) -> None:
    """A default is not hashed. Before changing a number or name below, raise lllm.identity._MEANING."""
    semantic = resolved(tmp_path, registry).semantic()
    pinned: dict[str, dict[str, object]] = {
        "data": {"context": 256, "multiple": 8},
        "model": {"ratio": 4, "width": 128, "token_width": None},
        "train": {"batch": 16, "lr": None, "clip": 1.0, "precision": "float32"},
        "eval": {"bytes": 131_072},
    }
    for section, fields in pinned.items():
        assert {key: semantic[section][key] for key in fields} == fields
    names = [semantic["tokenizer"]["use"], semantic["corpus"]["use"]]
    names += [semantic["model"][kind]["use"] for kind in ("embedding", "downsampler", "mixer", "ffn", "block")]
    names += [semantic["model"][kind]["use"] for kind in ("trunk", "visibility", "head")]
    names += [semantic["train"][kind]["use"] for kind in ("objective", "optimizer", "schedule")]
    assert " ".join(names) == (
        "byte python_stdlib table concat attention swiglu prenorm uniform causal local_ar cross_entropy muon cosine"
    )


def test_canonical_json() -> None:
    assert canonical({"b": [1, 1.0, 1e-3, None, True], "a": "é"}) == '{"a":"\\u00e9","b":[1,1.0,0.001,null,true]}'
    assert canonical({"a": 1}) != canonical({"a": 1.0})
    with pytest.raises(TypeError, match="key 1 is not text"):
        canonical({"a": [{1: 2}]})
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical({"a": float("nan")})
    with pytest.raises(TypeError, match="serializable"):
        canonical({"a": Path()})


def test_code_fingerprint_is_of_source_not_of_place(registry: Registry) -> None:
    entry, other = registry.get("mixer", "attention"), registry.get("ffn", "swiglu")
    digest, parts = code_fingerprint([entry, other])
    assert parts["mixer/attention"] == {"digest": entry.digest, "version": 1, "path": str(entry.path)}
    assert code_fingerprint([other, entry])[0] == digest
    assert code_fingerprint([replace(entry, path=Path("/moved")), other])[0] == digest
    assert code_fingerprint([replace(entry, digest="edited"), other])[0] != digest
    assert code_fingerprint([replace(entry, version=2), other])[0] != digest
    assert code_fingerprint([entry])[0] != digest
    assert len(digest) == 32


def test_an_edited_part_has_another_fingerprint_and_an_edited_comment_has_not(tmp_path: Path) -> None:
    def fingerprint(edit: str) -> str:
        shipped = load_registry(cwd=tmp_path / "empty").get("ffn", "swiglu").path
        local = tmp_path / edit.strip("# ")[:5] / "registry" / "ffns" / "swiglu.py"
        local.parent.mkdir(parents=True)
        local.write_text(shipped.read_text() + edit)
        return code_fingerprint([load_registry(cwd=local.parents[2]).get("ffn", "swiglu")])[0]

    plain = fingerprint("\n")
    assert fingerprint("# why not\n") == plain
    assert fingerprint("EDITED = 1\n") != plain


def test_evaluator_fingerprint() -> None:
    usual = evaluator_fingerprint(Eval(), 8, 256)
    assert evaluator_fingerprint(Eval(bytes=131_072), 8, 256) == usual
    assert evaluator_fingerprint(Eval(bytes=None), 8, 256) != usual
    assert evaluator_fingerprint(Eval(), 16, 256) != usual
    assert evaluator_fingerprint(Eval(), 8, 128) != usual


def test_settings_and_identities_need_no_torch() -> None:
    """It takes seconds to import; a listing of experiments or runs must not wait for it."""
    code = "import sys, lllm.config, lllm.identity; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_broken_sibling_does_not_stop_a_variant(tmp_path: Path, registry: Registry, plain: str) -> None:
    write(tmp_path, PLAIN + "variants: {base: {}, other: {model.mixer: absent}}\n")
    experiment = load_experiment("toy", tmp_path)
    assert (
        arm(resolve(experiment, "base", split_words([], experiment)[1], with_toys(registry)).delta(), BUDGET) == plain
    )
    with pytest.raises(UserError, match="unknown mixer 'absent'"):
        resolve(experiment, "other", Tree(), with_toys(registry))
