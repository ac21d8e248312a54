"""SIGKILL at random moments changes nothing."""

from __future__ import annotations

import pytest

from tests.launch.helpers import Place, outcome, todo
from tests.launch.killing import WORDS, kill_until_finished


@pytest.mark.slow
def test_twenty_kills_change_nothing(place: Place) -> None:
    words = [*WORDS, "budget={steps: 400}"]
    path = place.plan(*words).runs[0].path
    found = kill_until_finished(place, path, words, kills=20, seed=0)
    assert found.kills == 20
    assert todo(place.plan(*words)) == {"base/s0": ("finished", "")}
    whole = place.plan(*words, "run.results=whole")
    place.train(whole)
    assert outcome(path) == outcome(whole.runs[0].path)
