"""What makes two runs the same run, sizes that match, and budgets that become steps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lllm.config import Match, Tree
from lllm.config.tree import merge
from lllm.errors import UserError
from lllm.launch.arms import Arm, Arms
from lllm.launch.matching import counted
from lllm.train.setup import Setup
from tests.launch.helpers import TINY, Place

VARIANTS = """\
variants:
  flat:   {model.ratio: 1, model.downsampler: identity, model.head: {use: parallel, hidden: 16}}
  local:  {}
  longer: {budget: {flops: flat}}
baseline: flat
"""


def identities(place: Place, *words: str) -> dict[str, str]:
    arms, variants = place.arms(*words)
    return {variant: arms.arm(variant).identity for variant in variants}


def test_a_sibling_variant_added_changes_no_arm(place: Place) -> None:
    place.write(TINY + VARIANTS)
    before = identities(place)
    place.write(TINY + VARIANTS.replace("baseline", "  other: {model.ratio: 2}\nbaseline"))
    after = identities(place)
    assert {name: after[name] for name in before} == before
    assert len(set(after.values())) == 4


@pytest.mark.parametrize(
    "word",
    [
        "run.nproc=2",
        "run.nnodes=2",
        "run.workers=3",
        "run.micro_batch=1",
        "run.threads=2",
        "run.device=auto",
        "run.results=elsewhere",
        "run.log_every=1",
        "run.eval_every=2",
        "run.checkpoint_seconds=1.0",
        "run.compile=true",
        "wandb=offline",
        "run.samples=0",
        "budget={steps: 6}",
    ],
)
def test_how_it_is_executed_changes_no_arm(place: Place, word: str) -> None:
    assert identities(place, word) == identities(place)


@pytest.mark.parametrize(
    "word",
    [
        "model.width=8",
        "model.trunk.depth=2",
        "train.batch=8",
        "train.lr=0.001",
        "train.clip=null",
        "data.context=40",
        "data.multiple=4",
        "eval.bytes=200",
        "budget={steps: 7}",
        "budget={seconds: 6}",
        "train.precision=bfloat16",
        "corpus.split=0.8",
        "train.optimizer=adamw",
    ],
)
def test_what_it_is_does(place: Place, word: str) -> None:
    assert identities(place, word) != identities(place)


def test_a_default_written_out_changes_no_arm(place: Place) -> None:
    usual = place.arms()[0].arm("base").resolved.lr
    written = [f"train.lr={usual}", "model.trunk.depth=1", "model.head.depth=1", "train.clip=1.0", "data.multiple=8"]
    assert identities(place, *written) == identities(place)


def test_two_ways_to_ask_for_one_step_count_are_one_arm(place: Place) -> None:
    arms, _ = place.arms()
    arm = arms.arm("base")
    assert arm.steps == 6
    by_bytes, _ = place.arms(f"budget={{bytes: {round(6 * arm.bytes_per_step)}}}")
    by_flops, _ = place.arms(f"budget={{flops: {6 * arm.flops_per_step:.0f}}}")
    assert by_bytes.arm("base").identity == by_flops.arm("base").identity == arm.identity


def test_as_many_flops_as_another_variant(place: Place) -> None:
    place.write(TINY + VARIANTS)
    arms, _ = place.arms()
    flat, longer = arms.arm("flat"), arms.arm("longer")
    assert flat.steps == 6
    assert longer.steps is not None
    assert longer.steps > 6
    assert abs(longer.steps * longer.flops_per_step - 6 * flat.flops_per_step) <= longer.flops_per_step / 2


def test_flops_of_a_variant_that_overrides_do_not_fit(place: Place) -> None:
    """`model.head.depth` is of the local head only; flat, which the budget names, is as it would be trained beside."""
    place.write(TINY + VARIANTS)
    arms, _ = place.arms("longer", "model.width=24", "model.head.depth=2")
    wide, _ = place.arms("flat", "model.width=24")
    longer, flat = arms.arm("longer"), wide.arm("flat")
    assert longer.resolved.model.width == 24
    assert longer.steps == round(6 * flat.flops_per_step / longer.flops_per_step)
    with pytest.raises(UserError, match="unknown key 'depth' of head 'parallel'"):
        arms.arm("flat")


def test_flops_of_a_variant_that_counts_seconds(place: Place) -> None:
    place.write(TINY.replace("budget: {steps: 6}", "budget: {seconds: 5}") + VARIANTS)
    arms, _ = place.arms()
    with pytest.raises(UserError, match=r"budget\.flops = 'flat': its own budget is in seconds"):
        arms.arm("longer")


# --- matching -------------------------------------------------------------------------------------------------------

MATCHED = VARIANTS + "match: {params: 2%}\n"


def test_sizes_match_the_baseline(place: Place) -> None:
    place.write(TINY + MATCHED)
    arms, _ = place.arms()
    target = arms.arm("flat").parameters
    for name in ("local", "longer"):
        arm = arms.arm(name)
        assert abs(arm.parameters / target - 1) <= 0.02
        assert arm.matched.startswith("model.ffn.hidden = ")
        assert arm.resolved.semantic()["model"]["ffn"]["hidden"] == int(arm.matched.split("=")[1])
    assert arms.arm("flat").matched == ""


def test_sizes_match_a_baseline_that_overrides_do_not_fit(place: Place) -> None:
    place.write(TINY + MATCHED)
    arms, _ = place.arms("local", "model.width=24", "model.head.depth=2", "data.context=36", "data.multiple=4")
    wide, _ = place.arms("flat", "model.width=24")
    assert abs(arms.arm("local").parameters / wide.arm("flat").parameters - 1) <= 0.02


def test_a_tolerance_that_cannot_be_met_names_the_nearest_size(place: Place) -> None:
    place.write(TINY + VARIANTS + "match: {params: 0.001%}\n")
    arms, _ = place.arms()
    with pytest.raises(
        UserError, match=r"variant 'local', turning model.ffn.hidden: .*the nearest is [\d,]+ \(.* of it\)"
    ):
        arms.arm("local")


SIZED = '''\
from lllm.model.contracts import FFN, Cost
from lllm.model.layers import Linear
from lllm.registry import PartConfig, register


@register("ffn", "sized")
class Sized(FFN):
    """Two maps."""

    sized_by = "units"

    class Config(PartConfig):
        """units: how many. hidden: of no effect."""

        units: int = 3
        hidden: int = 3

    def __init__(self, config, build):
        super().__init__(config, build)
        self.up, self.down = Linear(build.width, config.units), Linear(config.units, build.width)

    def cost(self, n):
        return Cost()

    def forward(self, x, ctx, state=None):
        return self.down(self.up(x)), None
'''


def test_the_knob_is_the_size_that_the_ffn_declares(place: Place) -> None:
    path = place.path / "registry" / "ffns" / "sized.py"
    path.parent.mkdir(parents=True)
    path.write_text(SIZED)
    place.write(TINY + MATCHED)
    arm = place.arms("local", "model.ffn=sized")[0].arm("local")
    assert arm.matched == f"model.ffn.units = {arm.resolved.semantic()['model']['ffn']['units']}"
    flat = place.arms("flat", "model.ffn=sized")[0].arm("flat")
    assert abs(arm.parameters / flat.parameters - 1) <= 0.02
    given = place.arms("local", "model.ffn=sized", "model.ffn.units=4")[0].arm("local")
    assert (given.matched, given.note) == ("", "not matched: model.ffn.units was given")


@pytest.mark.parametrize("declared", ["None", "'unit'"])
def test_an_ffn_without_a_size_needs_a_knob(place: Place, declared: str) -> None:
    path = place.path / "registry" / "ffns" / "sized.py"
    path.parent.mkdir(parents=True)
    path.write_text(SIZED.replace('sized_by = "units"', f"sized_by = {declared}"))
    place.write(TINY + MATCHED)
    with pytest.raises(
        UserError, match=r"^match\.knob: model\.ffn 'sized' of variant 'local' declares no size; expected match\.knob"
    ):
        place.arms("local", "model.ffn=sized")[0].arm("local")
    place.write(TINY + VARIANTS + "match: {params: 2%, knob: model.ffn.units}\n")
    assert place.arms("local", "model.ffn=sized")[0].arm("local").matched.startswith("model.ffn.units = ")


def test_matching_depends_on_no_other_sibling(place: Place) -> None:
    place.write(TINY + MATCHED)
    before = identities(place)
    place.write(TINY + MATCHED.replace("baseline", "  other: {model.head: {use: local_ar, depth: 2}}\nbaseline"))
    after = identities(place)
    assert {name: after[name] for name in before} == before


# --- fingerprints ---------------------------------------------------------------------------------------------------


def test_a_changed_text_changes_the_arm_and_the_data_fingerprint_only(place: Place) -> None:
    before = place.arms()[0].arm("base")
    place.corpus("\n\n".join(f"another text, number {i}" for i in range(200)))
    after = place.arms()[0].arm("base")
    assert after.identity != before.identity
    changed = {name for name, value in before.fingerprints.items() if value != after.fingerprints[name]}
    assert changed == {"arm", "data", "documents"}
    assert {e.kind for e in before.used} >= {"mixer", "head", "tokenizer", "corpus", "objective", "optimizer"}


def test_a_size_is_found_once_for_all_readings_that_ask_for_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def counting(match: Match, setup: Setup, baseline: Setup, knob: str) -> int:
        asked.append(setup.resolved.variant)
        return counted(match, setup, baseline, knob)

    monkeypatch.setattr("lllm.launch.arms.counted", counting)
    place.write(TINY + "match: {params: 5%}\nvariants: {a: {}, b: {model.ratio: 2}}\nbaseline: a\n")
    arms, _ = place.arms()
    first = arms.arm("b")

    def reading(**fields: object) -> Arm:
        tree = merge(arms.experiment.variants["b"])
        for path, value in fields.items():
            tree.put(path.replace("__", "."), value, "a test")
        return arms.beside(replace(arms.experiment, variants={**arms.experiment.variants, "b": tree})).arm("b")

    assert reading(train__lr=0.5).matched == reading(budget={"steps": 9}).matched == first.matched
    assert asked == ["b"]
    assert reading(model__trunk__depth=3).matched != first.matched
    assert reading(model__trunk__depth=3).parameters == pytest.approx(first.parameters, rel=0.1)
    assert asked == ["b", "b"]


def test_another_reading_is_matched_to_what_the_baseline_was(place: Place) -> None:
    place.write(TINY + "match: {params: 5%}\nvariants: {a: {}, b: {model.ratio: 2}}\nbaseline: a\n")
    arms, _ = place.arms()
    was = {name: arms.arm(name) for name in ("a", "b")}

    def reading(**fields: object) -> Arms:
        tree = Tree()
        for path, value in fields.items():
            tree.put(path.replace("__", "."), value, "a test")
        variants = {**arms.experiment.variants, "a": merge(arms.experiment.variants["a"], tree)}
        return arms.beside(replace(arms.experiment, variants=variants))

    deeper, faster = reading(model__trunk__depth=3), reading(train__lr=0.5)
    assert deeper.arm("a").matched.startswith("model.ffn.hidden = ")
    assert abs(deeper.arm("a").parameters / was["a"].parameters - 1) <= 0.05
    assert deeper.arm("b").identity == was["b"].identity
    assert faster.arm("a").matched == ""
    assert faster.arm("a").parameters == was["a"].parameters
    assert deeper.beside(arms.experiment).arm("a").identity == was["a"].identity
