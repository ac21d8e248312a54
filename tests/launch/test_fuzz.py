"""Generated command lines, from the words to the plan: everything is decided, or one sentence says why not."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lllm.cli import main
from lllm.registry import Registry, load_registry
from lllm.registry.discovery import shipped

REGISTRY: Registry = load_registry()
NODES = {REGISTRY.place(kind): REGISTRY.of([kind]) for kind in REGISTRY.kinds()}
PATHS = [
    *("data.context", "data.multiple", "model.ratio", "model.width", "model.token_width", "train.batch", "train.lr"),
    *("train.clip", "train.precision", "eval.bytes", "budget", "budget.steps", "budget.bytes", "budget.flops"),
    *("budget.seconds", "nproc", "run.nnodes", "workers", "run.micro_batch", "run.threads", "run.device", "wandb"),
    *("run.compile", "run.samples", "run.log_every", "run.eval_every", "run.checkpoint_seconds", "match.params"),
]
NUMBERS = [0, -1, 1, 2, 3, 4, 5, 7, 8, 12, 16, 31, 32, 64, 96, 1 << 20, (1 << 53) - 1, 1 << 53, 1 << 62, 0.0, 0.1, 0.5]
NUMBERS += [-0.0, 1.0, 1.5, 8.0, 1e-3, 1e-320, 1e18, 1e300]
WRITTEN = ["1e-3", "1e400", "nan", ".nan", "-.inf", "inf", "0x10", "1_000", "007", "٣", "1MB", "1%", "2.5KB", "99999TB"]
WRITTEN += [
    "null",
    "~",
    "true",
    "True",
    "no",
    "float32",
    "auto",
    "cuda:99",
    "flat",
    "local_ar",
    "{}",
    "[]",
    "''",
    " ",
    "",
]
WRITTEN += [
    "[1",
    "{a: b",
    "{a: 1, a: 2}",
    "{use: }",
    "{1: 2}",
    "a: b",
    "*a",
    "&a b",
    "!!int 3",
    "#",
    '"\\ud800"',
    "ратио",
    "🦜",
]


@dataclass(frozen=True)
class Said:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory in which the quickstart is tiny and reads a small text."""
    path = tmp_path_factory.mktemp("fuzz")
    (path / "experiments").mkdir()
    text = (shipped("experiments") / "quickstart.yaml").read_text(encoding="utf-8")
    for line, small in (
        ("corpus: python_stdlib", "corpus: {use: text, path: corpus.txt, document: blank_line, split: 0.5}"),
        ("context: 256", "context: 48"),
        ("width: 96", "width: 16"),
        ("depth: 4", "depth: 1"),
        ("batch: 16", "batch: 4"),
        ("match: {params: 1%}", "match: {params: 40%}"),
        ("hidden: 96", "hidden: 16"),
    ):
        assert text.count(line) == 1, line
        text = text.replace(line, small)
    (path / "experiments" / "quickstart.yaml").write_text(text, encoding="utf-8")
    (path / "corpus.txt").write_text("\n\n".join(f"paragraph {i} of a text" for i in range(40)), encoding="utf-8")
    patch = pytest.MonkeyPatch()
    patch.chdir(path)
    patch.setenv("LLLM_DATA", str(tmp_path_factory.mktemp("data")))
    patch.setattr("lllm.launch.begin.measured_steps", lambda arm, seed: 7)  # timing is tested elsewhere
    patch.setattr("lllm.cli.progress.preparing", lambda: lambda split, done: None)  # speaks where a machine is slow
    yield path
    patch.undo()


def said(*words: str) -> Said:
    """`lllm run quickstart --dry-run -- WORDS`, in this process. What is no exit is a failed test."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main(["run", "quickstart", "--dry-run", *words])
    return Said(int(ended.value.code or 0), out.getvalue(), err.getvalue())


def believe(found: Said, folder: Path) -> None:
    """A plan, or one sentence; and nothing is there that was not there before."""
    assert found.code in (0, 2), found
    if found.code == 0:
        assert found.err == ""
        assert "no run is begun or written" in found.out
    else:
        assert found.err.startswith("error: "), found
        assert found.err.count("\n") == 1, found
        assert len(found.err) > 30, found
    assert sorted(os.listdir(folder)) == ["corpus.txt", "experiments"]


def shown(value: Any) -> str:
    """A value as a command line has it."""
    return value if isinstance(value, str) else json.dumps(value)


FUZZ = settings(
    max_examples=60,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
VARIANTS = st.lists(st.sampled_from(["flat", "parallel", "local_ar", "local_ar_long"]), max_size=2, unique=True)
FITTING: dict[str, list[Any]] = {
    "model.width": [16, 32],
    "model.mixer": ["attention", {"use": "attention", "heads": 2, "kv_heads": 1}, {"qk_norm": False}],
    "model.ffn": ["relu2", "swiglu"],
    "model.trunk": [{"use": "pattern", "mixers": ["attention"], "depth": 2}, {"depth": 2}],
    "train.batch": [4, 8],
    "train.optimizer": ["muon", {"use": "adamw", "weight_decay": 0}],
    "train.schedule": ["wsd", {"use": "cosine", "floor": 0}],
    "eval.bytes": [None, "1KB", 100],
    "budget": [{"steps": 2}, {"bytes": "20KB"}, {"flops": 1e9}, {"seconds": 1}],
    "run.micro_batch": [1, 4],
    "workers": [2],
}
fitting = st.fixed_dictionaries({}, optional={path: st.sampled_from(values) for path, values in FITTING.items()})


@FUZZ
@given(ratio=st.integers(1, 8), scale=st.integers(1, 3), rows=st.integers(1, 4), variants=VARIANTS, changes=fitting)
def test_what_fits_is_planned(
    folder: Path, ratio: int, scale: int, rows: int, variants: list[str], changes: dict[str, Any]
) -> None:
    """Any ratio, padding that it divides and context that holds it."""
    words = [f"model.ratio={ratio}", f"data.multiple={ratio * scale}", f"data.context={ratio * scale * rows * 4}"]
    words += [f"model.downsampler={'identity' if ratio == 1 else 'concat'}", "model.head=parallel"]
    words += [f"{path}={shown(value)}" for path, value in changes.items()]
    found = said(*variants, *words, "model.ffn.hidden=24")  # given sizes are not matched
    assert found.code == 0, found
    believe(found, folder)


number = st.one_of(st.sampled_from(NUMBERS), st.integers(), st.floats(allow_nan=False, allow_infinity=False))
word = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
names = st.sampled_from(sorted({entry.name for entry in REGISTRY.of(REGISTRY.kinds())}))
scalar = st.one_of(number, st.sampled_from(WRITTEN), names, word, st.booleans(), st.none())
COSTLY = {"depth"}  # each layer is built, so deep is slow; how slow is not asked here
options = {f for entries in NODES.values() for e in entries for f in e.cls.Config.model_fields}
field = st.sampled_from(sorted(options - COSTLY))
key = st.one_of(field, st.just("use"), names, word)
small = st.one_of(st.integers(-2, 8), names, word)
nested = st.recursive(
    scalar,
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(key, inner, max_size=3)),
    max_leaves=5,
)


@st.composite
def node(draw: st.DrawFn) -> tuple[str, Any]:
    """A part with options that it has, at values that it may not have."""
    place = draw(st.sampled_from(sorted(NODES)))
    entry = draw(st.sampled_from(NODES[place]))
    options = sorted(entry.cls.Config.model_fields)
    if not options or draw(st.booleans()):
        return place, draw(st.one_of(st.just(entry.name), names, nested))
    option = draw(st.sampled_from(options))
    given = draw(small if option in COSTLY else nested)
    if draw(st.booleans()):
        return f"{place}.{option}", given
    return place, {"use": entry.name, option: given}


@st.composite
def setting(draw: st.DrawFn) -> str:
    """One word of the command line."""
    path, value = draw(
        st.one_of(
            node(),
            st.tuples(st.sampled_from(PATHS), scalar),
            st.tuples(st.sampled_from([*PATHS, *NODES]), nested),
            st.tuples(st.one_of(word, st.tuples(st.sampled_from([*PATHS, *NODES]), key).map(".".join)), small),
        )
    )
    return draw(st.sampled_from([f"{path}={shown(value)}"] * 9 + [path, f" {path} = {shown(value)}"]))


@FUZZ
@given(ratio=st.integers(0, 9), multiple=st.integers(0, 17), context=st.integers(-1, 65), variants=VARIANTS)
def test_lengths_fit_or_are_refused(folder: Path, ratio: int, multiple: int, context: int, variants: list[str]) -> None:
    found = said(*variants, f"model.ratio={ratio}", f"data.multiple={multiple}", f"data.context={context}")
    believe(found, folder)
    if not (1 <= ratio <= 8 and multiple >= 1 and context >= 1) or multiple % ratio or context % multiple:
        assert found.code == 2, found


MANY = ["model.ffn.hidden=4611686018427387904", "model.trunk={use: pattern, mixers: [{use: attention, heads: 1e18}]}"]
MANY += ["model.trunk={use: pattern, mixers: [{use: attention, heads: 9007199254740993}]}"]


@pytest.mark.parametrize("value", MANY)
def test_no_whole_number_is_as_large(folder: Path, value: str) -> None:
    """torch would answer with a page about the overflow."""
    found = said("local_ar", value)
    assert found.code == 2, found
    believe(found, folder)
    assert found.err.startswith(f"error: command line: {value.partition('=')[0]}")


@FUZZ
@given(words=st.lists(setting(), max_size=3), variants=VARIANTS)
def test_whatever_is_typed(folder: Path, words: list[str], variants: list[str]) -> None:
    believe(said("--", *variants, *words), folder)


@FUZZ
@given(
    option=st.sampled_from(["--seeds", "--nproc", "--nnodes", "--workers", "--launcher", "--as"]),
    value=st.one_of(
        number.map(str), st.sampled_from([*WRITTEN, "0,1,2", "0,0", "torchrun", "local", "a/b", ".."]), word
    ),
    words=st.lists(setting(), max_size=1),
)
def test_options(folder: Path, option: str, value: str, words: list[str]) -> None:
    found = said(f"{option}={value}", "--", "flat", *words)
    if "Usage: " in found.err:  # the parser of options refuses what is no number
        assert found.code == 2, found
        return
    believe(found, folder)
