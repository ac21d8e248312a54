"""Steps that a budget of seconds has room for: those of the first driver are every driver's."""

from __future__ import annotations

import threading
from pathlib import Path

import optuna

from lllm.search.storage import open_storage
from lllm.search.trials import Measured, agreed


def study_of(root: Path) -> optuna.Study:
    return optuna.create_study(storage=open_storage(None, root, "tiny"), study_name="a", load_if_exists=True)


def test_two_drivers_that_measure_at_once_agree(tmp_path: Path) -> None:
    study_of(tmp_path)
    both, found = threading.Barrier(2), dict[int, tuple[dict[str, Measured], set[str]]]()

    def measure(steps: int) -> Measured:
        both.wait(60)
        return Measured(steps, {"device": "x", "threads": steps})

    def drive(steps: int) -> None:
        found[steps] = agreed({"a": study_of(tmp_path)}, lambda name: measure(steps))

    drivers = [threading.Thread(target=drive, args=(steps,)) for steps in (5, 10)]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join(60)
    (first, _), (second, _) = found[5], found[10]
    assert first == second
    assert sum(len(now) for _, now in found.values()) == 1
    again, now = agreed({"a": study_of(tmp_path)}, lambda name: Measured(7, {}))
    assert (again, now) == (first, set())
