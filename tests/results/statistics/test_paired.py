"""Paired t and Holm against scipy and a hand calculation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lllm.results.statistics.paired import holm, paired

ROW = {0: 2.51, 1: 2.48, 2: 2.55, 5: 9.0}
BASE = {0: 2.50, 1: 2.49, 2: 2.50, 7: 0.0}


def test_it_is_scipys_paired_test_over_the_shared_seeds() -> None:
    found = paired(ROW, BASE)
    left, right = [2.51, 2.48, 2.55], [2.50, 2.49, 2.50]
    expected = stats.ttest_rel(left, right)
    low, high = expected.confidence_interval(0.95)
    assert found.n == 3
    assert found.p == pytest.approx(expected.pvalue)
    assert found.half is not None
    assert (found.difference - found.half, found.difference + found.half) == pytest.approx((low, high))


def test_too_little_to_say() -> None:
    one = paired({0: 2.0}, {0: 1.5})
    assert (one.n, one.difference, one.half, one.p) == (1, 0.5, None, None)
    assert paired({0: 1.0, 1: 1.0}, {0: 1.0, 1: 1.0}).p == 1.0
    assert paired({0: 2.0, 1: 2.0}, {0: 1.0, 1: 1.0}).p == 0.0
    with pytest.raises(ValueError, match="no seed in common"):
        paired({0: 1.0}, {1: 1.0})


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_rejects_no_more_than_its_level_in_the_family() -> None:
    random = np.random.default_rng(0)
    p_values = random.random((4000, 5))
    wrong = np.mean([min(holm(list(p))) < 0.05 for p in p_values])
    assert stats.binomtest(int(wrong * 4000), 4000, 0.05, "greater").pvalue > 0.001
    naive = np.mean(p_values.min(1) < 0.05)  # what no correction would do
    assert stats.binomtest(int(naive * 4000), 4000, 0.05, "greater").pvalue < 1e-12
