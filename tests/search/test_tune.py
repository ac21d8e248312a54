"""Tuning: as many trials and the same budget for each variant, the best of each, and what of it is recorded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from lllm.config.search import LR
from lllm.errors import UserError
from lllm.registry import Registry
from lllm.results.run import Run
from lllm.search.storage import open_storage
from lllm.search.studies import runs, states
from tests.launch.helpers import TINY, Place
from tests.search.sweeps import TWO, served, trials_of, tuning_of


def rates(study: optuna.Study) -> list[float]:
    return sorted(trial.params[LR] for trial in study.get_trials())


def test_every_variant_has_the_same_trials_and_its_best_is_found(place: Place, registry: Registry) -> None:
    place.write(TWO.replace("two: {", "two: {train.lr: 0.02, "))  # the stand-in's best is 0.01: inside, and at an edge
    tuning, _ = tuning_of(registry, 3)
    before = tuning.complete
    served(tuning)
    assert (before, tuning.complete) == (False, True)
    assert rates(tuning.studies["one"]) == [0.0025, 0.005, 0.01, 0.02]
    assert rates(tuning.studies["two"]) == [0.005, 0.01, 0.02, 0.04]
    winners = tuning.winners()
    assert {name: winner.fields for name, winner in winners.items()} == {"one": {LR: 0.01}, "two": {LR: 0.01}}
    assert {winner.trials for winner in winners.values()} == {4}
    assert winners["one"].sensitivity == {"0.5x": 2.0, "1x": 1.0, "2x": 2.0}
    assert winners["one"].value == 1.0
    assert tuning.at_edge() == []


def test_trials_are_ordinary_runs_of_equal_budget_that_say_what_they_are(place: Place, registry: Registry) -> None:
    place.write(TWO)
    tuning, _ = tuning_of(registry, 3, "budget={bytes: 2KB}")
    served(tuning)
    trained: dict[str, int] = dict.fromkeys(tuning.studies, 0)
    for variant, study in tuning.studies.items():
        assert states(study) == {"complete": 3}
        for trial in study.get_trials():
            run = Run(Path("results") / trial.user_attrs["run"])
            assert run.path.parent.parent == Path("results/tiny").resolve() / variant
            assert run.seed == 1000
            told = {"study": f"tiny/{variant}/tune", "number": trial.number, "fields": trial.params}
            assert run.info["trial"] == told
            assert run.info["overrides"] == ["budget={bytes: 2KB}", f"train.lr={json.dumps(trial.params[LR])}"]
            trained[variant] += run.info["steps"] * run.info["sizes"]["bytes_per_step"]
    assert len(set(trained.values())) == 1  # bytes of all trials of a variant
    assert trained["one"] > 3 * 1000


def test_a_sweep_that_is_given_again_trains_nothing_and_one_with_more_trials_goes_on(
    place: Place, registry: Registry
) -> None:
    tuning, _ = tuning_of(registry, 2)
    served(tuning)
    before = rates(tuning.studies["base"])
    assert before == [0.005, 0.01, 0.02]  # 0.01 was at the edge of two points
    again, _ = tuning_of(registry, 2)
    assert again.complete
    assert again.more() == []
    more, _ = tuning_of(registry, 5)
    assert not more.complete
    served(more)
    assert rates(more.studies["base"]) == [0.0025, *before, 0.04]


def test_a_driver_serves_what_another_one_has_added_to_the_grid(place: Place, registry: Registry) -> None:
    first, _ = tuning_of(registry, 1)
    served(first, more=lambda: [])
    second, _ = tuning_of(registry, 1)
    (job,) = first.more()  # one beyond each edge
    with pytest.warns(UserWarning, match="Heartbeat"):  # the driver beats
        trial = job.study.ask()
    job.propose(trial)
    assert [job.target for job in second.more()] == [2]  # it waits for what is under way
    job.study.tell(trial, state=TrialState.FAIL)
    served(second)
    assert second.complete
    assert rates(second.studies["base"]) == [0.005, 0.01, 0.02]


def test_a_part_of_the_variants_first_and_all_of_them_then(place: Place, registry: Registry) -> None:
    place.write(TWO)
    served(tuning_of(registry, 5, "one")[0])
    both, _ = tuning_of(registry, 3)
    served(both)
    assert rates(both.studies["one"]) == rates(both.studies["two"])
    assert len(rates(both.studies["two"])) == 5


def test_the_worse_half_is_pruned_within_a_study_from_sixteen_trials_on(place: Place, registry: Registry) -> None:
    (job,) = tuning_of(registry, 2)[0].jobs()
    assert (job.prune_after, job.watch) == (16, "bpb")
    place.write(f"{TINY}decide: nats_per_byte\n")
    (job,) = tuning_of(registry, 2, name="other")[0].jobs()
    assert job.prune_after is None  # its curve is not the metric's


def test_a_trial_that_a_dead_driver_left_is_the_same_run_again(place: Place, registry: Registry) -> None:
    (job,) = tuning_of(registry, 3)[0].jobs()
    with pytest.warns(UserWarning, match="Heartbeat"):  # the driver beats
        trial = job.study.ask()
    first = job.propose(trial)
    assert job.replan(job.study.get_trials()[0]).path == first.path


def test_the_larger_metric_wins_where_the_rule_says_so(place: Place, registry: Registry) -> None:
    place.write(f"{TINY}decide: {{metric: bpb, better: higher}}\n")
    tuning, _ = tuning_of(registry, 3)
    assert tuning.studies["base"].direction == optuna.study.StudyDirection.MAXIMIZE
    served(tuning)
    assert rates(tuning.studies["base"]) == [0.01 * 2.0**k for k in range(-4, 2)]  # three times at its lower edge
    assert tuning.winners()["base"].fields == {LR: 0.01 / 16}
    assert tuning.at_edge() == ["base"]


SPACE = """\
variants:
  one: {}
  two: {model.head: parallel}
  three: {model.head.depth: 2}
search: {model.head.depth: {low: 1, high: 3}, model.mixer: [attention], train.optimizer.weight_decay: [0.0, 0.1]}
""".replace("[attention]", "auto")


def test_fields_are_tuned_in_the_variants_that_have_them_and_do_not_set_them(place: Place, registry: Registry) -> None:
    place.write(TINY + SPACE)
    tuning, notes = tuning_of(registry, 4)
    found = {name: [one.path for one in space.dimensions] for name, space in tuning.tunables.items()}
    decay = "train.optimizer.weight_decay"
    assert found == {"one": [LR, "model.head.depth", decay], "two": [LR, decay], "three": [LR, decay]}
    assert notes == [
        "model.mixer: is chosen by --search only",
        "model.head.depth: variant three sets it itself",
    ]
    served(tuning)
    for study in tuning.studies.values():
        assert states(study) == {"complete": 4}
        assert study.get_trials()[0].params[LR] == 0.01  # as it stands, first
        assert all(0.01 / 8 <= trial.params[LR] <= 0.08 for trial in study.get_trials())
    assert len(tuning.winners()["one"].fields) == 3


def test_every_trial_trains_something_as_long_as_there_is_something_new(place: Place, registry: Registry) -> None:
    place.write(f"{TINY}search: {{train.lr: [0.005, 0.01, 0.02], model.head.width: [7, 8]}}\n")  # no head of 7 / 2
    tuning, _ = tuning_of(registry, 3)
    served(tuning, workers=1)
    study = tuning.studies["base"]
    assert (states(study), runs(study)) == ({"complete": 3}, 3)
    more, _ = tuning_of(registry, 5)
    served(more, workers=1)
    study = more.studies["base"]
    assert sum(states(study).values()) == 5
    assert runs(study) == 3


def test_what_is_for_a_search_alone_is_left_to_it(place: Place, registry: Registry) -> None:
    kernel = "model.downsampler.kernel"
    place.write(f"{TWO}search: {{model.ratio: auto, model.downsampler: auto, {kernel}: [4, 8], train.lr: grid}}\n")
    tuning, notes = tuning_of(registry, 2)
    assert notes == [
        "model.ratio: is chosen by --search only",
        "model.downsampler: is chosen by --search only",
        f"{kernel}: no variant has it",
    ]
    assert tuning.on_grid
    place.write(f"{TWO}search: {{model.head.depth: [1, 2]}}\n")
    assert tuning_of(registry, 2, "two", name="other")[1] == ["model.head.depth: none of these variants has it"]


def test_all_fields_are_those_that_the_parts_propose(place: Place, registry: Registry) -> None:
    tuning, _ = tuning_of(registry, 2, "train.optimizer=adamw", all_fields=True)
    paths = {one.path for one in tuning.tunables["base"].dimensions}
    assert paths == {LR, "model.head.depth", "train.optimizer.beta2", "train.optimizer.weight_decay"}


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        ("search: {model.head.dept: [1, 2]}\n", (), "did you mean 'model.head.depth'"),
        ("search: {model.head.depth: [0, 2]}\n", (), "model.head.depth: 0: input should be greater"),
        ("search: {model.head.depth: [1, 2]}\n", ("model.head.depth=2",), "the sweep searches it"),
        ("", ("train.lr=0.1",), "the sweep searches it"),
        ("search: {model.mixer: [attention, nope]}\n", (), "search.model.mixer: unknown mixer 'nope'"),
        ("search: {space: {model.head: [local_ar, paralel]}}\n", (), "did you mean 'parallel'"),
        ("search: {model.head: [local_ar, {use: parallel, hiden: 2}]}\n", (), "did you mean 'hidden'"),
        ("search: {objectives: [acc]}\n", (), "objective 'acc': the results have no such metric"),
        ("search: {model.ratio: [4, a]}\n", (), "model.ratio: 'a': input should be"),
        ("search: {model.downsampler: auto, model.downsampler.kernl: [4, 8]}\n", (), "did you mean '.*kernel'"),
        ("search: {model.downsampler: auto, model.downsampler.kernel: [0, 4]}\n", (), "kernel: 0: input should be"),
        ("variants: {a: {model.head.depth: 1}}\nsearch: {model.head.depth: [0, 2]}\n", (), "depth: 0: input should"),
        (
            "variants: {one: {}, two: {}}\nmatch: {params: 5%}\nsearch: {model.ffn.hidden: [8, 16]}\n",
            ("two",),
            "match turns it in every trial",
        ),
    ],
)
def test_what_cannot_be_tuned_is_refused(
    place: Place, registry: Registry, text: str, words: tuple[str, ...], said: str
) -> None:
    place.write(TINY + text)
    with pytest.raises(UserError, match=said):
        tuning_of(registry, 2, *words)


def test_a_study_under_other_terms_is_refused_with_what_changed(place: Place, registry: Registry) -> None:
    tuning_of(registry, 2)
    with pytest.raises(UserError, match=r"now settings.train.batch=2.*--as NEWNAME"):
        tuning_of(registry, 2, "train.batch=2")
    with pytest.raises(UserError, match=r"now .*steps=7.*--as NEWNAME"):
        tuning_of(registry, 2, "budget={steps: 7}")
    place.write(f"{TINY}search: {{model.head.depth: [1, 2]}}\n")
    with pytest.raises(UserError, match=r"now .*space.*--as NEWNAME"):
        tuning_of(registry, 2)
    assert tuning_of(registry, 2, name="new")[0].jobs()


def test_an_edited_part_that_a_field_may_name_makes_another_study(place: Place, registry: Registry) -> None:
    place.write(f"{TINY}search: {{model.head.ffn: [swiglu, relu2]}}\n")
    tuning_of(registry, 2)
    part = replace(registry.entries["ffn", "relu2"], digest="b")
    with pytest.raises(UserError, match=r"begun under other terms: now parts\.ffn relu2=\['b', 1\]; expected"):
        tuning_of(replace(registry, entries={**registry.entries, ("ffn", "relu2"): part}), 2)


def test_a_study_of_someone_else_is_left_alone(place: Place, registry: Registry) -> None:
    storage = open_storage(None, Path("results"), "tiny")
    strange = optuna.create_study(storage=storage, study_name="tiny/base/tune")
    strange.add_trial(optuna.create_trial(value=1.0))
    with pytest.raises(UserError, match=r"study 'tiny/base/tune' of this storage is not lllm's.*--as NEWNAME"):
        tuning_of(registry, 2)
    place.write(TINY, "other")
    taken = optuna.create_study(storage=storage, study_name="tiny/base/theirs")
    taken.set_user_attr("lllm", {"experiment": "other"})
    with pytest.raises(UserError, match="of experiment 'other'"):
        tuning_of(registry, 2, name="theirs")
    assert [trial.state for trial in strange.get_trials()] == [TrialState.COMPLETE]


def test_the_search_seed_is_none_of_the_experiments(place: Place, registry: Registry) -> None:
    place.write(f"{TINY}seeds: [0, 1000, 1001]\n")
    assert trials_of(registry)[0].seed == 1002
