"""The noise of an arm: its numbers, where it is kept, and what it is the noise of."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from lllm.errors import UserError
from lllm.results.compare import Expected, compare
from lllm.results.noise import measured, read_noise, write_noise
from tests.results.conftest import FINGERPRINTS, MakeRun, arm

VALUES = {0: 2.51, 1: 2.49, 2: 2.52, 3: 2.50, 4: 2.47}


def test_the_interval_of_a_standard_deviation_is_chi_squared() -> None:
    found = measured("bpb", "a", FINGERPRINTS, VALUES)
    assert (found.n, found.mean) == (5, pytest.approx(np.mean(list(VALUES.values()))))
    assert found.sd == pytest.approx(np.std(list(VALUES.values()), ddof=1))
    high, low = found.sd * np.sqrt(4 / stats.chi2.ppf([0.025, 0.975], 4))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(3)
    drawn = [measured("bpb", "a", {}, dict(enumerate(map(float, random.normal(2.5, 0.01, 8))))) for _ in range(2000)]
    held = sum(found.low <= 0.01 <= found.high for found in drawn)
    low, high = stats.binom.ppf([0.0005, 0.9995], 2000, 0.95)
    assert low <= held <= high


@pytest.mark.parametrize("values", [{}, {0: 2.5}, {0: 2.5, 1: math.nan}])
def test_what_has_no_spread(values: dict[int, float]) -> None:
    with pytest.raises(ValueError, match="at least two"):
        measured("bpb", "a", FINGERPRINTS, values)


def test_it_is_stored_by_arm_fingerprints_and_metric(root: Path) -> None:
    first = measured("bpb", "a", FINGERPRINTS, VALUES)
    others = [
        measured("bpb", "b", FINGERPRINTS, VALUES),
        measured("bpb", "a", {**FINGERPRINTS, "data": "other"}, VALUES),
        measured("accuracy", "a", FINGERPRINTS, VALUES),
    ]
    for each in (first, *others):
        path = write_noise(root, "study", each)
    stored = read_noise(root, "study")
    assert stored.all == (first, *others)
    assert stored.fitting("a", FINGERPRINTS, "bpb") == first
    assert stored.fitting("a", FINGERPRINTS, "accuracy") == others[2]
    assert stored.fitting("c", FINGERPRINTS, "bpb") is None
    assert stored.fitting("a", {**FINGERPRINTS, "code": "edited"}, "bpb") is None
    assert stored.unused("a", FINGERPRINTS, "bpb") == ""
    assert stored.unused("c", FINGERPRINTS, "bpb").endswith("of another arm")
    assert stored.unused("a", {**FINGERPRINTS, "code": "edited"}, "bpb").endswith("of another code")
    assert stored.unused("b", {**FINGERPRINTS, "data": "other"}, "accuracy").endswith("another data and metric")
    more = measured("bpb", "a", FINGERPRINTS, {**VALUES, 5: 2.53})
    write_noise(root, "study", more)
    assert read_noise(root, "study").all == (*others, more)
    plain = json.loads(path.read_text())
    assert plain[-1]["sd"] == pytest.approx(more.sd)
    assert plain[-1]["seeds"] == [0, 1, 2, 3, 4, 5]
    assert not list(path.parent.glob(".*"))


def test_there_is_none(root: Path) -> None:
    assert read_noise(root, "study").all == ()
    assert read_noise(root, "study").unused("a", FINGERPRINTS, "bpb") == ""


@pytest.mark.parametrize("text", ["{", "[1]", '{"a": 1}', '[{"metric": "bpb"}]', "3"])
def test_a_damaged_file_is_named_and_stays(root: Path, text: str) -> None:
    path = write_noise(root, "study", measured("bpb", "a", FINGERPRINTS, VALUES))
    path.write_text(text)
    with pytest.raises(UserError, match=r"noise\.json"):
        read_noise(root, "study")
    with pytest.raises(UserError, match=r"noise\.json"):
        write_noise(root, "study", measured("bpb", "a", FINGERPRINTS, VALUES))
    assert path.read_text() == text


def test_no_table_rests_on_it(make_run: MakeRun, root: Path) -> None:
    for seed in range(3):
        make_run("base", seed, 2.5 + 0.001 * seed)
        make_run("good", seed, 2.4 + 0.001 * seed + 0.0005 * (seed % 2))
    rows = [Expected("base", arm("base"), baseline=True), Expected("good", arm("good"))]
    before = compare(root, "study", rows)
    assert before.rows[1].verdict.word == "better"
    write_noise(root, "study", measured("bpb", arm("base"), FINGERPRINTS, {0: 2.3, 1: 2.5, 2: 2.7}))
    assert compare(root, "study", rows) == before
