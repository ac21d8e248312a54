"""Tables of runs whose truth is known, through the whole path of `lllm compare`; the benchmark has 1000 of each."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.calibration import Rate, claims, counted_looks, identical, judged, planted, rejects, simulated, splits

TRIES = 250


def test_nothing_is_found_where_nothing_is() -> None:
    random = np.random.default_rng(20)
    alone, test, verdict = identical(lambda: simulated(random, 3, 3), TRIES, "nothing")
    for rate in (alone, test):
        low, high = rate.bounds
        assert 0 < low <= rate.hits <= high
    assert verdict.hits <= test.hits


def test_a_planted_difference_is_found_as_often_as_its_power_says() -> None:
    found, wrong = planted(np.random.default_rng(21), 3, 3, 0.02, TRIES)
    assert 0.7 < found.expected < 0.9
    assert found.fine, str(found)
    assert wrong.fine, str(wrong)


def test_looks_are_counted_and_not_counting_them_is_found_out() -> None:
    counted, uncounted = counted_looks(np.random.default_rng(22), 1, 8, 150)
    assert counted.fine, str(counted)
    assert uncounted.control
    assert uncounted.fine, str(uncounted)


def test_stored_noise_is_a_floor_below_which_nothing_is_claimed() -> None:
    random = np.random.default_rng(23)
    values = simulated(random, 3, 8, effect=0.08)
    assert claims(judged(values))
    wide = judged(values, noise={0: 2.40, 1: 2.50, 2: 2.60})
    assert rejects(wide)
    assert not claims(wide)


def test_a_split_deals_every_run_at_most_once() -> None:
    found = np.arange(30.0)
    dealt = splits(np.random.default_rng(24), found, 5, 5)()
    assert dealt.shape == (6, 5)
    assert sorted(dealt.ravel().tolist()) == found.tolist()
    assert splits(np.random.default_rng(24), found, 1, 5)().shape == (2, 5)


@pytest.mark.parametrize(
    ("hits", "options", "fine"),
    [
        (50, {}, True),
        (10, {}, False),
        (100, {}, False),
        (10, {"at_most": True}, True),
        (100, {"at_most": True}, False),
        (100, {"control": True}, True),
        (50, {"control": True}, False),
    ],
)
def test_a_rate_knows_whether_it_is_as_it_should_be(hits: int, options: dict[str, bool], fine: bool) -> None:
    rate = Rate("rejections", hits, 1000, 0.05, **options)
    assert rate.fine is fine
    assert rate.bounds[1] == 74
    assert ("NO" in str(rate)) is not fine
