"""The probes of a run, before training and on the evaluated weights, and what of them stands in probe.json."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lllm.probe import Calls, probe, probe_rows
from lllm.probe.blame import blame
from lllm.results.files import write_json
from lllm.results.probed import FILE, read_probe
from lllm.train.hooks import progress_at
from lllm.train.setup import Setup
from lllm.train.trainer import Failed, Trainer

__all__ = ["Probing", "probed"]


def probed(calls: Calls, setup: Setup, *, micro: int | None = None, skip: int = 0) -> dict[str, Any]:
    """The record of a probe on the longest of the validation rows after the first `skip`; of one that failed with its
    `blame`. micro: rows of a training micro-batch (None: as many as evaluation scores at once)."""
    device = next(calls.model.parameters()).device
    rows = probe_rows(setup.valid(), setup.resolved.train.batch, skip).to(device)
    found = probe(calls, rows, micro=micro)
    said = found.record()
    if found.worst is not None and found.worst.row is not None:
        said["blame"] = blame(calls, rows, found, setup.registry, setup.composition).record()
    return said


class Probing:
    """Of the run at `path`; asked: whether it probes at all (`run.probe`); final: on its evaluated weights, too, which
    a trial of a sweep leaves out."""

    def __init__(self, path: Path, setup: Setup, trainer: Trainer, *, final: bool) -> None:
        self.path, self.setup, self.trainer, self.final = path, setup, trainer, final
        self.asked = setup.resolved.run.probe

    def begin(self) -> None:
        """Probe before the first step, unless that was done. The first process probes, all agree on going on.

        Raises:
            Failed: a future token reaches a prediction, or what is scored is not what generates.
        """
        failed = False
        if self.asked and self.trainer.world.first and "begin" not in read_probe(self.path):
            calls = self._calls(progress_at(0, self.trainer.settings.steps), 0)
            failed = not self._add("begin", probed(calls, self.setup, micro=self._micro()))
        if self.trainer.world.agree(float(failed)):
            said = read_probe(self.path)["begin"]
            raise Failed(f"not causal: {text_of(said)}. The run ends here; --no-probe trains all the same")

    def end(self) -> None:
        """Probe the evaluated weights: the proof, since outputs that begin at zero hide every leak before training."""
        if not (self.asked and self.final and self.trainer.world.first):
            return
        with self.trainer.evaluated_weights():
            calls = self._calls(1.0, self.trainer.settings.steps)
            if not self._add("end", probed(calls, self.setup, micro=self._micro())):
                print(f"not causal: {text_of(read_probe(self.path)['end'])}", file=sys.stderr)

    def _micro(self) -> int:
        """Rows of a micro-batch of this process."""
        start, stop = self.trainer.world.share(self.trainer.batches.size)
        return min(self.trainer.settings.micro_batch or stop - start, stop - start)

    def _calls(self, progress: float, step: int) -> Calls:
        trainer = self.trainer
        return Calls(
            trainer.model,
            trainer.gradients.forward,
            trainer.autocast,
            progress=progress,
            last=trainer.last,
            step=step,
            seed=trainer.settings.seed,
        )

    def _add(self, when: str, said: Mapping[str, Any]) -> bool:
        """Keep a record; whether it passed."""
        write_json(self.path / FILE, {**read_probe(self.path), when: said})
        return bool(said["passed"])


def text_of(said: Mapping[str, Any]) -> str:
    """What a failed record says, in one sentence."""
    return str(said["blame"]["text"]) if "blame" in said else "no position could be predicted from a carried state"
