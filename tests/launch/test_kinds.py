"""Kinds are open: parts outside the model build others by name, and a stranger's kind has a place, from file to run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import lllm
from lllm.check.suite import Checker
from lllm.errors import BuildError, UserError
from lllm.registry import Registry, load_registry
from lllm.results.files import read_metrics
from lllm.train.setup import training_parts
from tests.launch.helpers import Place, todo
from tests.launch.toys_kinds import FILES, OBJECTIVE, TEACHER

STEPS = "budget={steps: 2}"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    place = Place(tmp_path, monkeypatch)
    for name, text in FILES.items():
        put(place, name, text)
    (tmp_path / "more.txt").write_text("\n\n".join(f"a text of another kind, number {i}" for i in range(50)))
    return place


def put(place: Place, name: str, text: str) -> None:
    path = place.path / "registry" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def trained(place: Place, *words: str) -> Path:
    """The directory of a run of two steps."""
    plan = place.plan(STEPS, *words)
    fine, watch = place.train(plan)
    assert fine, watch.ends
    return plan.runs[0].path


TEACHERS = {
    "placed": ("train.objective=taught", "train.teacher=steady"),
    "nested": ("train.objective={use: taught, teacher: {use: steady, worth: 0.25}}",),
    "both": ("train.objective={use: taught, teacher: steady}", "train.teacher={use: steady, worth: 2.0}"),
}


@pytest.mark.parametrize("words", TEACHERS.values(), ids=TEACHERS)
def test_an_objective_builds_a_part_of_a_new_kind(place: Place, words: tuple[str, ...]) -> None:
    run = trained(place, *words)
    info = json.loads((run / "run.json").read_text())
    assert {"objective/taught", "teacher/steady"} <= set(info["parts"])
    assert todo(place.plan(STEPS, *words)) == {"base/s0": ("finished", "")}
    assert lllm.load(run).resolved.nodes().keys() >= ({"train.teacher"} if "train.teacher" in words[-1] else set())


def test_what_is_built_is_what_was_named(place: Place) -> None:
    found = {name: place.arms(*words)[0].arm("base") for name, words in TEACHERS.items()}
    worths = {name: arm.resolved.build().part("objective").teacher.worth() for name, arm in found.items()}
    assert worths == {"placed": 0.5, "nested": 0.25, "both": 0.5}
    assert len({arm.identity for arm in found.values()}) == 3
    build = found["placed"].resolved.build()
    assert build.part("objective").teacher is build.part("teacher")  # one object for all that ask
    assert found["both"].resolved.delta()["train"] == {
        "batch": 4,
        "objective": {"use": "taught", "teacher": "steady"},
        "teacher": {"use": "steady", "worth": 2.0},
    }


HOOKED = (
    TEACHER.replace("import Build, Part, PartConfig, register", "import Build, PartConfig, register")
    .replace("class Teacher(Part)", "class Teacher(TrainingPart)")
    .replace(
        "\n\n\nclass Teacher",
        "\nfrom lllm.train.contracts import TrainingPart\nfrom lllm.train.hooks import Hook\n\n\nclass Teacher",
    )
    .replace('    section = "train"\n', "")
    + """
    def hooks(self):
        return [Log()]


class Log(Hook):
    name = "teacher"

    def after_step(self, now):
        now.metrics["worth"] = 3.0 * now.step
"""
)


def test_a_new_kind_of_training_part_is_built_once_and_its_hooks_run(place: Place) -> None:
    put(place, "teachers/steady.py", HOOKED)
    run = trained(place, *TEACHERS["placed"], "run.log_every=1")
    lines = read_metrics(run / "metrics.jsonl")
    assert [line["metric.worth"] for line in lines if "metric.worth" in line] == [0.0, 3.0]
    setup = place.arms(*TEACHERS["placed"])[0].arm("base").setup
    parts = training_parts(setup, setup.model(0), 0)
    assert parts["teacher"] is parts["objective"].teacher


@pytest.mark.parametrize("words", TEACHERS.values(), ids=TEACHERS)
def test_an_edited_nested_part_makes_the_run_stale(place: Place, words: tuple[str, ...]) -> None:
    trained(place, *words)
    put(place, "teachers/steady.py", TEACHER + "\n# a remark\n")
    assert todo(place.plan(STEPS, *words)) == {"base/s0": ("finished", "")}
    put(place, "teachers/steady.py", TEACHER.replace("return self.config.worth", "return 2 * self.config.worth"))
    ((what, why),) = todo(place.plan(STEPS, *words)).values()
    assert what == "train anew"
    assert "steady.py changed" in why


def test_a_corpus_mixes_two_others(place: Place) -> None:
    one, other = "{use: text, path: corpus.txt, document: blank_line}", "{use: text, path: more.txt}"
    run = trained(place, f"corpus={{use: mix, of: [{one}, {other}]}}")
    info = json.loads((run / "run.json").read_text())
    assert {"corpus/mix", "corpus/text"} <= set(info["parts"])
    loaded = lllm.load(run)
    mixed = loaded.resolved.build_data().part("corpus")
    raw = [document.raw for document in mixed.documents("train")]
    assert raw == [document.raw for corpus in mixed.corpora for document in corpus.documents("train")]
    assert len({len(list(corpus.documents("train"))) for corpus in mixed.corpora}) == 2
    (place.path / "more.txt").write_text("something else " * 20)
    assert loaded.resolved.build_data().part("corpus").digest() != mixed.digest()


def test_a_new_kind_brings_its_suite_and_those_that_name_it_pass_theirs(place: Place) -> None:
    registry = load_registry()
    for kind, name in (("teacher", "steady"), ("objective", "taught"), ("corpus", "mix")):
        assert Checker(registry).part(registry.get(kind, name)).failures == [], name
    put(place, "teachers/steady.py", TEACHER.replace("worth: float = 0.5", "worth: float = 0.0"))
    registry = load_registry()
    (failure,) = Checker(registry).part(registry.get("teacher", "steady")).failures
    assert failure.test == "worth"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train.teacher=stedy",), r"train\.teacher: unknown teacher 'stedy'; did you mean 'steady'"),
        (("train.teacher.worht=1.0", "train.teacher=steady"), r"unknown key 'worht' of teacher 'steady'; did you mean"),
        (("train.objective={use: taught, teacher: stedy}",), r"train\.objective\.teacher: unknown teacher 'stedy'"),
        (("train.objective=taught",), r"train\.teacher: this composition needs a teacher and names none"),
        (("model.teacher=steady",), r"model\.teacher: unknown key 'teacher'"),
    ],
)
def test_what_is_misnamed_is_told_where_it_stands(place: Place, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        place.plan(STEPS, *words)


def test_a_constructor_that_raises_is_named(place: Place) -> None:
    put(
        place,
        "teachers/steady.py",
        TEACHER + "\n    def __init__(self, config, build):\n        raise ValueError('no')\n",
    )
    with pytest.raises(UserError, match=r"^teacher 'steady' \(.*steady\.py:\d+\): ValueError: no$"):
        place.plan(STEPS, *TEACHERS["placed"])
    put(place, "objectives/taught.py", OBJECTIVE.replace("super().__init__(config, build)", "build.width"))
    registry = load_registry()
    with pytest.raises(BuildError, match=r"^objective 'taught' \(.*taught\.py:\d+\): AttributeError"):
        lllm.registry.Build(registry, {}).part("objective", "taught")


def test_a_kind_stands_in_one_section(place: Place) -> None:
    put(place, "teachers/other.py", TEACHER.replace("steady", "other").replace('section = "train"', 'section = "run"'))
    known = load_registry()
    assert known.names("teacher") == ["other"]  # the first that is told
    (path,) = known.failures
    assert path.name == "steady.py"
    assert "a teacher stands in 'train'" in known.failures[path]


def test_a_kind_stands_in_a_section_that_there_is(registry: Registry, place: Place) -> None:
    put(place, "teachers/steady.py", TEACHER.replace('section = "train"', 'section = "budget"'))
    (why,) = load_registry().failures.values()
    assert "Steady.section is 'budget'; expected 'model' or 'train' or 'run'" in why
