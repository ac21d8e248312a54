"""The learning rate's grid: the same points for all, extended where a best lies at an edge."""

from __future__ import annotations

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lllm.config.search import LR
from lllm.search import grid


def test_the_points_nearest_to_the_centre_come_first() -> None:
    assert grid.first(1) == [0]
    assert grid.first(6) == [0, -1, 1, -2, 2, -3]
    assert [grid.at(0.01, k) for k in (-1, 0, 1)] == [0.005, 0.01, 0.02]


@given(st.floats(1e-6, 1.0), st.integers(-20, 20))
def test_a_rate_of_the_grid_is_found_again_and_another_is_none(centre: float, exponent: int) -> None:
    assert grid.offset(centre, grid.at(centre, exponent)) == exponent
    assert grid.offset(centre, 1.1 * grid.at(centre, exponent)) is None


def test_what_one_variant_has_tried_all_try() -> None:
    assert grid.points(3, [{0, -1, 1}, {0, -1, 1, 2}, {-2}]) == [0, -1, 1, -2, 2]


def test_a_best_inside_ends_it_and_one_at_an_edge_extends_that_side() -> None:
    inside = {-1: 2.0, 0: 1.0, 1: 2.0}
    assert grid.extension(3, [inside, inside]) == []
    low = {-1: 0.5, 0: 1.0, 1: 2.0}
    assert grid.extension(3, [inside, low]) == [-2]
    high = {-1: 2.0, 0: 1.0, 1: 0.5}
    assert grid.extension(3, [low, inside, high]) == [-2, 2]


def test_a_point_that_came_to_nothing_is_an_edge_that_was_tried() -> None:
    diverged = {-1: 2.0, 0: 1.0, 1: None}
    assert grid.extension(3, [diverged]) == []
    assert grid.extension(3, [{-1: None, 0: None, 1: None}]) == []


def test_one_or_two_points_grow_until_one_is_inside() -> None:
    assert grid.extension(1, [{0: 1.0}]) == [-1, 1]
    assert grid.extension(2, [{0: 1.0, -1: 2.0}]) == [1]
    assert grid.extension(2, [{0: 2.0, -1: 1.0}]) == [-2]


def test_a_best_that_runs_away_is_followed_only_so_far() -> None:
    curve: dict[int, float | None] = {k: float(k) for k in grid.first(3)}
    while added := grid.extension(3, [curve]):
        curve |= {k: float(k) for k in added}
    assert min(curve) == -1 - grid.ROUNDS
    assert max(curve) == 1


@pytest.mark.parametrize("drivers", [1, 3])
def test_drivers_of_one_study_never_give_a_point_twice(tmp_path: object, drivers: int) -> None:
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/sweep.db")
    wanted = grid.first(6)
    studies = [
        optuna.create_study(
            storage=storage,
            study_name="x",
            sampler=grid.GridSampler(0.01, lambda: wanted),
            load_if_exists=True,
        )
        for _ in range(drivers)
    ]
    asked = [studies[i % drivers].ask() for i in range(6)]  # nobody has said yet which point it takes
    rates = []
    for trial in reversed(asked):
        some = grid.distribution(0.01)
        rates.append(trial.suggest_float(LR, some.low, some.high, log=True))
    assert sorted(rates) == sorted(grid.at(0.01, k) for k in wanted)
