"""An arm: a variant with everything decided, down to how many steps it takes."""

from __future__ import annotations

from dataclasses import dataclass

from lllm.config import Resolved
from lllm.identity import code_fingerprint, evaluator_fingerprint, platform
from lllm.launch.timing import Timing
from lllm.model.accounting import parameters, train_flops_per_token
from lllm.model.contracts import ModelPart
from lllm.registry import Entry
from lllm.train.recheck import used_parts
from lllm.train.setup import Setup

__all__ = ["Arm", "arm_of_setup"]


@dataclass(frozen=True)
class Arm:
    """A fully decided variant. steps is None where the budget is measured time and has not been measured yet.

    used: the parts whose source makes the code fingerprint. flops_per_step: training FLOPs of one global batch;
    bytes_per_step: mean raw bytes of one. matched: what the size knob was set to, '' where nothing was turned.
    stage_flops: training FLOPs of its stages. note: what a user must know about how it was decided. timing: the
    measurement by which its size was matched, None where it was not matched by time.
    """

    variant: str
    setup: Setup
    identity: str
    steps: int | None
    parameters: int
    flops_per_step: float
    bytes_per_step: float
    used: tuple[Entry, ...]
    matched: str = ""
    stage_flops: float = 0.0
    note: str = ""
    timing: Timing | None = None

    @property
    def resolved(self) -> Resolved:
        return self.setup.resolved

    @property
    def fingerprints(self) -> dict[str, str]:
        """Those of `terms`, and of platform."""
        return {**self.terms, "platform": platform()}

    @property
    def terms(self) -> dict[str, str]:
        """The fingerprints of arm, code, data, documents (what the data are made of, whatever the tokenizer) and
        evaluator, without which two runs share no row of a table; that of platform takes longer to compute."""
        resolved = self.resolved
        return {
            "arm": self.identity,
            "code": code_fingerprint(self.used)[0],
            "data": self.setup.dataset.fingerprint,
            "documents": self.setup.dataset.documents,
            "evaluator": evaluator_fingerprint(resolved.eval, resolved.data.multiple, resolved.data.context),
        }

    @property
    def flops_per_byte(self) -> float:
        """Training FLOPs per source byte; of its stages, too, where the budget itself says over how many bytes."""
        budget = self.resolved.budget
        share = 0.0
        if self.stage_flops and budget.unit in ("steps", "bytes"):
            share = self.stage_flops / (float(budget.amount) * (self.bytes_per_step if budget.unit == "steps" else 1))
        return self.flops_per_step / self.bytes_per_step + share


def arm_of_setup(variant: str, setup: Setup, matched: str = "") -> Arm:
    """The arm of settings that are final but for the budget: without steps and identity."""
    model = setup.model(None, "meta")
    data, train = setup.resolved.data, setup.resolved.train
    stages = [stage for part in model.modules() if isinstance(part, ModelPart) for stage in part.stages()]
    return Arm(
        variant=variant,
        setup=setup,
        identity="",
        steps=None,
        parameters=parameters(model),
        flops_per_step=train_flops_per_token(model, data.context) * data.context * train.batch,
        bytes_per_step=setup.batches(0).bytes_per_step,
        used=used_parts(model, setup.resolved),
        matched=matched,
        stage_flops=sum(stage.flops * stage.steps for stage in stages) * data.context * train.batch,
    )
