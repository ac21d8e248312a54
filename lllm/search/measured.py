"""How many steps a budget of seconds has room for, kept with the study: its trials have as many, whoever serves them.

There is no writing of what nobody has written yet: two drivers that measure at the same moment both write, and the
later note is there, for both of them, a moment later.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import optuna

from lllm.search.claims import SETTLE

__all__ = ["Measured", "agreed"]

MEASURED = "measured"  # user attribute of a study: its `Measured`


@dataclass(frozen=True)
class Measured:
    """steps: of every trial; machine: on what they were measured, as `lllm.launch.timing.machine` has it."""

    steps: int
    machine: Mapping[str, Any]

    @property
    def on(self) -> str:
        """The machine, in words."""
        return f"{self.machine['device']}, {self.machine['threads']} thread(s)"


def agreed(
    studies: Mapping[str, optuna.Study], measure: Callable[[str], Measured]
) -> tuple[dict[str, Measured], set[str]]:
    """What the first driver of each study has measured, by name of the study here, and the names of those that are
    measured now, by `measure(name)`."""
    mine: dict[str, Measured] = {}
    for name, study in studies.items():
        if MEASURED not in study.user_attrs:
            found = measure(name)
            if MEASURED not in study.user_attrs:  # measuring takes a while
                study.set_user_attr(MEASURED, asdict(found))
                mine[name] = found
    if mine:
        time.sleep(SETTLE)
    known = {name: Measured(**study.user_attrs[MEASURED]) for name, study in studies.items()}
    return known, {name for name, found in mine.items() if found == known[name]}
