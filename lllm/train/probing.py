"""The probes of a run, before training and on the evaluated weights, and what of them stands in probe.json."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from lllm.errors import UserError
from lllm.probe import Calls, probe, probe_rows
from lllm.probe.blame import blame, substitutes
from lllm.results.files import write_json
from lllm.results.probed import FILE, read_probe
from lllm.train.evaluate import Evaluation
from lllm.train.hooks import progress_at
from lllm.train.setup import Setup
from lllm.train.trainer import Failed, Trainer

if TYPE_CHECKING:
    from lllm.loaded import Loaded

__all__ = ["Probing", "add_rounds", "probed", "text_of"]


def probed(
    calls: Calls, setup: Setup, *, micro: int | None = None, evaluated: NDArray[np.float64] | None = None
) -> dict[str, Any]:
    """The record of a probe on validation rows, other ones in every run and call; of one that failed with its `blame`.
    micro: rows of a training micro-batch (None: as many as evaluation scores at once); evaluated: nats of every row in
    an evaluation of these weights."""
    device = next(calls.model.parameters()).device
    rows = probe_rows(setup.valid, setup.resolved.train.batch, secrets.randbits(32))
    nats = None if evaluated is None else torch.from_numpy(evaluated)[rows.rows].to(device)
    rows = rows.to(device)
    found = probe(calls, rows, micro=micro, evaluated=nats)
    said = found.record()
    if found.worst is not None and found.worst.row is not None:
        others = substitutes(setup.registry, setup.composition, calls.model)
        said["blame"] = blame(calls, rows, found, others).record()
    return said


class Probing:
    """Of the run at `path`; asked: whether it probes at all (`run.probe`); final: on its evaluated weights, too, which
    a trial of a sweep leaves out."""

    def __init__(self, path: Path, setup: Setup, trainer: Trainer, *, final: bool) -> None:
        self.path, self.setup, self.trainer, self.final = path, setup, trainer, final
        self.asked = setup.resolved.run.probe

    def begin(self) -> None:
        """Probe before the first step, once for a run. The first process probes, all agree on going on.

        Raises:
            Failed: a future token reaches a prediction, or what is scored is not what generates.
        """
        failed = False
        if self.asked and self.trainer.world.first:
            progress = progress_at(0, self.trainer.settings.steps)
            said = read_probe(self.path).get("begin") or self._probe("begin", 0, progress)
            failed = not said["passed"]
        if self.trainer.world.agree(float(failed)):
            said = read_probe(self.path)["begin"]
            raise Failed(f"not causal: {text_of(said)}. The run ends here; --no-probe --force trains all the same")

    def end(self, evaluation: Evaluation) -> None:
        """Probe the evaluated weights and what the evaluation made of them: the proof, since outputs that begin at zero
        hide every leak before training."""
        if not (self.asked and self.final and self.trainer.world.first):
            return
        with self.trainer.evaluated_weights():
            said = self._probe("end", self.trainer.settings.steps, 1.0, evaluation.rows)
            if not said["passed"]:
                print(f"not causal: {text_of(said)}", file=sys.stderr)

    def _probe(
        self, when: str, step: int, progress: float, evaluated: NDArray[np.float64] | None = None
    ) -> Mapping[str, Any]:
        """Probe the weights after `step` steps, with this process's micro-batches, and keep the record."""
        trainer = self.trainer
        start, stop = trainer.world.share(trainer.batches.size)
        calls = Calls(
            trainer.model,
            trainer.gradients.forward,
            trainer.autocast,
            progress=progress,
            last=trainer.last,
            step=step,
            seed=trainer.settings.seed,
            hooks=trainer.hooks,
        )
        micro = min(trainer.settings.micro_batch or stop - start, stop - start)
        said = probed(calls, self.setup, micro=micro, evaluated=evaluated)
        write_json(self.path / FILE, {**read_probe(self.path), when: said})
        return said


def add_rounds(loaded: Loaded, rounds: int) -> Iterator[dict[str, Any]]:
    """Probe a loaded run's weights so many times; each record is kept in its probe.json as soon as it is known.

    Raises:
        UserError: the code of its parts is not what it was trained by.
    """
    if loaded.edited:
        raise UserError(
            f"probe: {loaded.edited[0]} was edited since {loaded.run.name} was trained, and would be proven in its "
            "place; expected the code of the run, or `lllm run` to train it anew"
        )
    setup, path = loaded.setup, loaded.run.path
    calls = Calls(
        loaded.model,
        loaded.model,
        loaded.autocast,
        progress=loaded.progress,
        last=loaded.last,
        step=loaded.step,
        seed=loaded.run.seed,
    )
    for _ in range(rounds):
        said = probed(calls, setup, micro=setup.resolved.run.micro_batch)
        kept = read_probe(path)
        write_json(path / FILE, {**kept, "more": [*kept.get("more", []), said]})
        yield said


def text_of(said: Mapping[str, Any]) -> str:
    """What a failed record says, in one sentence."""
    return str(said["blame"]["text"]) if "blame" in said else "no position could be predicted from a carried state"
