"""A variant with everything decided: values, deltas, and what cannot be had."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lllm.config import load_experiment, resolve, restore, split_words
from lllm.config.tree import Tree
from lllm.errors import UserError
from lllm.registry import Registry
from tests.config.helpers import PLAIN, delta, resolved, with_toys, write

PLAIN_DELTA = {"budget": {"steps": 10}, "corpus": {"@version": 2, "use": "python_stdlib"}}  # a version is no default
FLOPS = "hypothesis: x\nbudget: {steps: 1}\nvariants:\n"


def test_a_plain_experiment_is_the_defaults(tmp_path: Path, registry: Registry) -> None:
    plain = resolved(tmp_path, registry)
    assert plain.delta() == PLAIN_DELTA
    assert (plain.data.context, plain.data.multiple, plain.train.batch, plain.train.clip) == (256, 8, 16, 1.0)
    assert (plain.model.ratio, plain.model.width, plain.model.token_width) == (4, 128, None)
    assert plain.eval.bytes == 131072
    assert (plain.run.device, plain.run.results, plain.run.checkpoint_seconds) == ("auto", "results", 20.0)
    assert plain.launcher.name == "local"
    assert {"mixer", "head", "objective", "optimizer", "schedule"} <= set(plain.parts)
    assert not {"adapter", "tokenizer", "corpus", "launcher"} & set(plain.parts)
    assert plain.lr == plain.parts["optimizer"].entry.cls.default_lr  # type: ignore[attr-defined]


def test_semantic_is_full_and_execution_is_apart(tmp_path: Path, registry: Registry) -> None:
    plain = resolved(tmp_path, registry, PLAIN, "device=cpu", "model.head.depth=1")
    semantic = plain.semantic()
    assert semantic["model"]["head"]["depth"] == 1
    assert semantic["model"]["mixer"]["use"] == "attention"
    assert semantic["tokenizer"] == {"use": "byte"}
    assert semantic["budget"] == {"steps": 10}
    assert "run" not in semantic
    assert plain.execution()["device"] == "cpu"
    assert plain.execution()["launcher"] == {"use": "local", "shell": False}


def test_a_recorded_run_is_restored(tmp_path: Path, registry: Registry) -> None:
    words = [
        "train.lr=1e-2",
        "model.trunk={use: pattern, mixers: [attention, {use: attention, heads: 1}]}",
        "threads=3",
    ]
    plain = resolved(tmp_path, registry, PLAIN, *words)
    again = restore("toy", "base", plain.semantic(), plain.execution(), with_toys(registry))
    assert again == plain
    assert again.delta() == plain.delta()
    gone = {**plain.semantic(), "corpus": {"use": "gone"}}
    with pytest.raises(UserError, match=r"run.json: corpus: unknown corpus 'gone'"):
        restore("toy", "base", gone, plain.execution(), with_toys(registry))


def test_a_delta_holds_what_differs(tmp_path: Path, registry: Registry) -> None:
    found = delta(
        tmp_path,
        registry,
        PLAIN,
        "model.ffn=relu2",
        "model.mixer.heads=2",
        "model.trunk={use: pattern, mixers: [attention]}",
        "corpus={use: text, document: file, split: 0.8}",
        "train.clip=null",
        "data.multiple=16",
        "data.context=256",
        "device=cpu",
        "run.launcher.shell=true",
    )
    assert found == {
        "model": {
            "ffn": {"use": "relu2"},
            "mixer": {"use": "attention", "heads": 2},
            "trunk": {"use": "pattern", "mixers": ["attention"]},
        },
        "corpus": {"use": "text", "split": 0.8},
        "train": {"clip": None},
        "data": {"multiple": 16},
        "budget": {"steps": 10},
    }


def test_a_kind_that_the_platform_does_not_know_belongs_to_the_model(tmp_path: Path, registry: Registry) -> None:
    found = resolved(tmp_path, registry, PLAIN, "model.cache_policy={use: forget, of: [a]}")
    assert found.parts["cache_policy"].name == "forget"
    assert found.delta()["model"] == {"cache_policy": {"use": "forget", "of": ["a"], "@version": 2}}
    assert found.composition(7, (6,)).parts["cache_policy"].name == "forget"
    with pytest.raises(UserError, match=r"model.cache_policy.of: missing; it has no default"):
        resolved(tmp_path, registry, PLAIN, "model.cache_policy=forget")


def test_a_part_of_another_version_enters_even_at_its_defaults(tmp_path: Path, registry: Registry) -> None:
    entry = registry.get("mixer", "attention")
    newer = with_toys(registry)
    newer.entries["mixer", "attention"] = replace(entry, version=3)
    write(tmp_path, PLAIN)
    found = resolve(load_experiment("toy", tmp_path), "base", Tree(), newer).delta()
    assert found["model"] == {"mixer": {"use": "attention", "@version": 3}}


def test_with_value_changes_one_setting_and_validates(tmp_path: Path, registry: Registry) -> None:
    plain = resolved(tmp_path, registry)
    wide = plain.with_value("model.ffn.hidden", 40)
    assert wide.delta()["model"] == {"ffn": {"use": "swiglu", "hidden": 40}}
    assert plain.delta() == PLAIN_DELTA
    assert wide.with_value("budget.seconds", 3.0).budget.unit == "seconds"
    with pytest.raises(UserError, match=r"match: model.ffn.hiden: unknown key 'hiden' of ffn 'swiglu'; did you mean"):
        plain.with_value("model.ffn.hiden", 40)
    with pytest.raises(UserError, match=r"match: model.ffn.hidden = 0: expected at least"):
        plain.with_value("model.ffn.hidden", 0)


def test_the_composition_is_what_was_chosen(tmp_path: Path, registry: Registry) -> None:
    found = resolved(tmp_path, registry, PLAIN, "model.ratio=2", "model.width=32", "model.token_width=24")
    composition = found.composition(261, (258,))
    assert (composition.ratio, composition.width, composition.d, composition.vocab) == (2, 32, 24, 261)
    assert composition.illegal == (258,)
    assert {"objective", "optimizer", "schedule"}.isdisjoint(composition.parts)


@pytest.mark.parametrize(
    ("given", "amount"),
    [
        ("{bytes: 20MB}", ("bytes", 20_000_000)),
        ("{bytes: 500KB}", ("bytes", 500_000)),
        ("{bytes: 1.5GB}", ("bytes", 1_500_000_000)),
        ("{bytes: 12}", ("bytes", 12)),
        ("{flops: 1e13}", ("flops", 1e13)),
        ("{flops: 1000}", ("flops", 1000.0)),
        ("{seconds: 2}", ("seconds", 2.0)),
        ("{steps: 60}", ("steps", 60)),
    ],
)
def test_budgets(tmp_path: Path, registry: Registry, given: str, amount: tuple[str, object]) -> None:
    budget = resolved(tmp_path, registry, PLAIN, f"budget={given}").budget
    assert (budget.unit, budget.amount) == amount
    assert type(budget.amount) is type(amount[1])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("model.ratio=0", "command line: model.ratio = 0: expected at least 1"),
        ("model.ratio=9", "model.ratio = 9: expected at most 8"),
        ("model.ratio=3", "model.ratio = 3: does not divide data.multiple, 8; expected one of 1, 2, 4, 8"),
        (
            "data.multiple=6",
            "command line: model.ratio = 4: does not divide data.multiple, 6; expected one of 1, 2, 3, 6",
        ),
        ("model.width=-8", "model.width = -8: expected at least 1"),
        ("model.width=1", "model.width = 1: a token is half as wide at ratio 4; expected at least 2"),
        ("model.width=8.0", "model.width = 8.0: expected a valid integer"),
        ("model.width=true", "model.width = True: expected a valid integer"),
        ("model.width=wide", "model.width = 'wide': expected a valid integer"),
        ("model.widht=8", "model.widht: unknown key 'widht'; did you mean 'width'"),
        ("model.mixr=attention", "model.mixr: unknown key 'mixr'; did you mean 'mixer'"),
        ("model.mixer=atention", "model.mixer: unknown mixer 'atention'; did you mean 'attention'"),
        ("model.mixer.head=2", "model.mixer.head: unknown key 'head' of mixer 'attention'; did you mean 'heads'"),
        ("model.mixer.heads=two", "model.mixer.heads = 'two': expected a valid integer"),
        ("model.mixer={heads: 0}", "model.mixer.heads = 0: expected at least 1"),
        ("model.mixer=null", "model.mixer = None: expected the mixer's name, or a mapping with 'use'"),
        ("model.mixer=3", "model.mixer = 3: expected the mixer's name"),
        ("model.mixer={use: 3}", "model.mixer: expected 'use: NAME', the mixer's name"),
        ("model.head.use=", "no value"),
        ("corpus.path=x.txt", "corpus.path: unknown key 'path' of corpus 'python_stdlib'; .*corpus 'text' has it"),
        ("corpus.vald=0.1", "corpus.vald: unknown key 'vald' of corpus 'python_stdlib'; did you mean 'valid'"),
        ("tokenizer=bite", "tokenizer: unknown tokenizer 'bite'; did you mean 'byte'"),
        ("train.adapter=lora", "train.adapter: unknown adapter 'lora'"),
        ("train.adapter.rank=2", "train.adapter: expected 'use: NAME', the adapter's name"),
        ("train.optimizer=adam", "train.optimizer: unknown optimizer 'adam'; did you mean 'adamw'"),
        ("train.lr=0", "train.lr = 0: expected more than 0"),
        ("train.lr=-1e-3", "train.lr = -0.001: expected more than 0"),
        ("train.clip=0", "train.clip = 0: expected more than 0"),
        ("train.precision=float16", "train.precision = 'float16': expected 'float32' or 'bfloat16'"),
        ("train.batch=0", "train.batch = 0: expected at least"),
        ("data.context=100", "data.context = 100: expected a multiple of data.multiple, 8, such as 96"),
        ("data.context=4", "data.context = 4: expected a multiple of data.multiple, 8, such as 8"),
        ("eval.bytes=0", "eval.bytes = 0: expected at least"),
        ("eval.bytes=3XB", "eval.bytes = '3XB': expected a number of bytes"),
        ("budget={steps: 0}", "budget.steps = 0: expected at least 1"),
        ("budget={steps: -3}", "budget.steps = -3: expected at least"),
        (
            "budget={bytes: 0MB}",
            "budget.bytes = '0MB': expected at least|budget.bytes = 0: expected at least",
        ),
        ("budget={bytes: 1.0001KB}", "budget.bytes = '1.0001KB': expected a number of bytes"),
        ("budget={seconds: 0}", "budget.seconds = 0: expected more than 0"),
        ("budget={flops: 0}", "budget.flops = 0: expected a positive number, as in 1e13, or the name of a variant"),
        ("budget={flops: true}", "budget.flops = True: expected a positive number"),
        ("budget={steps: 1, bytes: 2}", "expected exactly one of steps, bytes, flops, seconds"),
        ("budget={}", "expected exactly one of steps, bytes, flops, seconds"),
        ("budget=20MB", "budget = '20MB': expected a mapping"),
        ("budget={step: 1}", "budget.step: unknown key 'step'; did you mean 'steps'"),
        ("budget={flops: flat}", "budget.flops = 'flat': no such variant; valid: base"),
        ("nproc=17", "run.nproc x run.nnodes = 17 processes: larger than train.batch, 16"),
        ("nproc=0", "run.nproc = 0: expected at least"),
        ("micro_batch=17", "run.micro_batch = 17: larger than train.batch, 16"),
        ("device=gpu", "run.device = 'gpu': expected a match of the"),
        ("wandb=on", "run.wandb = 'on': expected 'off', 'offline' or 'online'"),
        ("run.nprocs=2", "run.nprocs: unknown key 'nprocs'; did you mean 'nproc'"),
        ("results=3", "run.results = 3: expected a valid string"),
    ],
)
def test_what_cannot_be_had_is_refused_in_one_sentence(
    tmp_path: Path, registry: Registry, words: str, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        resolved(tmp_path, registry, PLAIN, words)
    assert "command line" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_values_from_a_file_are_named_by_line(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = PLAIN + "model:\n  ratio: 3\n"
    with pytest.raises(UserError, match=r"^experiments/toy.yaml:4: model.ratio = 3: does not divide data.multiple, 8"):
        resolved(tmp_path, registry, text)
    text = PLAIN + "model:\n  head:\n    use: local_ar\n    depth: deep\n"
    with pytest.raises(UserError, match=r"^experiments/toy.yaml:6: model.head.depth = 'deep': expected a valid"):
        resolved(tmp_path, registry, text)
    text = PLAIN + "variants:\n  a: {model.head: locl_ar}\n"
    with pytest.raises(UserError, match=r"^experiments/toy.yaml:4: model.head: unknown head 'locl_ar'; did you mean"):
        resolved(tmp_path, registry, text)


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ("  a: {budget: {flops: a}}\n", r"leads back to itself \(a -> a\)"),
        ("  a: {budget: {flops: b}}\n  b: {budget: {flops: a}}\n", r"leads back to itself \(a -> b -> a\)"),
        ("  a: {budget: {flops: bb}}\n  bbb: {}\n", "no such variant; did you mean 'bbb'"),
    ],
)
def test_a_budget_must_lead_to_a_number(tmp_path: Path, registry: Registry, variants: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolved(tmp_path, registry, FLOPS + variants)


def test_a_budget_may_name_a_variant_that_names_another(tmp_path: Path, registry: Registry) -> None:
    variants = "  a: {budget: {flops: b}}\n  b: {budget: {flops: c}}\n  c: {}\n"
    assert resolved(tmp_path, registry, FLOPS + variants).budget.variant == "b"


def test_an_option_given_where_it_is_not_the_command_line(tmp_path: Path, registry: Registry) -> None:
    write(tmp_path, PLAIN)
    experiment = load_experiment("toy", tmp_path)
    _, overrides = split_words([], experiment)
    overrides.put("run.nproc", 99, "--nproc")
    with pytest.raises(UserError, match=r"^--nproc: run.nproc x run.nnodes = 99 processes: larger than train.batch"):
        resolve(experiment, "base", overrides, with_toys(registry))


def test_a_budget_on_the_command_line_asks_nothing_of_the_variant_that_it_names(registry: Registry) -> None:
    experiment = load_experiment("quickstart")
    _, overrides = split_words(["budget={flops: flat}", "train.batch=8"], experiment)
    flat, parallel = (resolve(experiment, name, overrides, registry) for name in ("flat", "parallel"))
    assert (flat.budget.unit, flat.budget.amount) == ("bytes", 1_000_000)
    assert (parallel.budget.unit, parallel.budget.amount) == ("flops", "flat")
    assert flat.train.batch == parallel.train.batch == 8
