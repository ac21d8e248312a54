"""Whose a running trial is: drivers say which they serve, and take over what a dead one left.

A driver notes itself in the trial (`driver`: host, process, start of the process, its own mark) and beats. On one
machine the process tells whether the driver lives; from another machine, the heartbeats that the database itself
compares. A trial without a driver was created by one that died within milliseconds of it: it is taken over once it has
been seen so for the grace period. Notes are not locks: where two drivers take over the same trial, the one whose note
is there a moment later has it, and past that moment the ownership of the run's directory lets only one train.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, cast

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages._cached_storage import _CachedStorage
from optuna.trial import FrozenTrial, TrialState

from lllm.results.state import identity, is_alive, same_machine, same_process

__all__ = ["Claims", "finished_meanwhile"]

DRIVER = "driver"  # user attribute of a trial: who serves it
CLAIMS = "claims"  # in that note: which driver of its process, for a process may have several
finished_meanwhile = partial(suppress, UpdateFinishedTrialError)  # another driver told it: both tell what the files say
_OPEN: set[str] = set()  # drivers of this process that are at work
SETTLE = 0.5  # seconds after which a note that another driver was writing at the same moment is there
LATER = 1.0  # seconds before a trial whose run another process trains is looked at again, doubled each time
LATEST = 15.0  # at most


class Claims:
    """The claims of one driver to trials of one study on a storage with heartbeats, until it is closed. grace: seconds
    without a beat after which a driver counts as dead; interval: between two beats."""

    def __init__(self, study: optuna.Study) -> None:
        self.study, self.storage = study, cast(_CachedStorage, study._storage)  # which is what a database is behind
        self._driver = {**identity(), CLAIMS: uuid.uuid4().hex}
        _OPEN.add(self._driver[CLAIMS])
        grace, interval = self.storage._backend.grace_period, self.storage.get_heartbeat_interval()
        assert grace is not None  # as `open_storage` makes it
        assert interval is not None
        self.grace, self.interval = grace, interval
        self._seen: dict[int, float] = {}  # trials without a driver, and since when
        self._later: dict[int, float] = {}  # trials whose runs another process trains, and until when to leave them
        self._pauses: dict[int, float] = {}

    def close(self) -> None:
        """Serve no more: what is left is anybody's."""
        _OPEN.discard(self._driver[CLAIMS])

    def beat(self, trial: int) -> None:
        """Say that the trial's driver lives."""
        self.storage.record_heartbeat(trial)

    def note(self, trial: int) -> None:
        """Say that this process serves it; what has a driver has a heartbeat."""
        self.beat(trial)
        self.storage.set_trial_user_attr(trial, DRIVER, self._driver)

    def take(self, trial: FrozenTrial) -> FrozenTrial | None:
        """Take over what a dead driver left; None when another one was faster."""
        if not self._mine(trial):
            with finished_meanwhile():
                self.note(trial._trial_id)
            time.sleep(SETTLE)
        now = self.storage.get_trial(trial._trial_id)
        mine = now.state is TrialState.RUNNING and self._mine(now)
        return now if mine else None

    def postpone(self, trial: int) -> bool:
        """Leave it alone for a while: another process trains its run. Whether that is new."""
        new = trial not in self._pauses
        self._pauses[trial] = min(2 * self._pauses.get(trial, LATER / 2), LATEST)
        self._later[trial] = time.monotonic() + self._pauses[trial]
        return new

    def left(self, trials: Iterable[FrozenTrial], mine: Collection[int]) -> Iterator[FrozenTrial]:
        """Those of the trials that nobody serves, `mine` being the ids of those that this driver does."""
        now, stale = time.monotonic(), None
        for trial in trials:
            number = trial._trial_id
            if trial.state is not TrialState.RUNNING or number in mine or now < self._later.get(number, 0.0):
                continue
            driver = _driver(trial)
            if not driver:
                dead = now - self._seen.setdefault(number, now) > self.grace
            elif same_process(driver):  # its own was postponed; another's is left once that has stopped
                dead = self._mine(trial) or driver.get(CLAIMS) not in _OPEN
            elif same_machine(driver):
                dead = not is_alive(driver, math.inf)
            else:
                stale = self.storage._get_stale_trial_ids(self.study._study_id) if stale is None else stale
                dead = number in stale
            if dead:
                yield trial

    def _mine(self, trial: FrozenTrial) -> bool:
        return dict(_driver(trial)) == self._driver


def _driver(trial: FrozenTrial) -> Mapping[str, Any]:
    found = trial.user_attrs.get(DRIVER)
    return found if isinstance(found, Mapping) else {}
