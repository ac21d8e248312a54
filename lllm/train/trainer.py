"""The loop: steps, evaluations, logs and checkpoints, the same from a laptop to torchrun.

Nothing here depends on wall-clock time but what is logged as such: an interrupted run, resumed, is bit for bit the
uninterrupted one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from lllm.data.batches import Batch, TrainBatches
from lllm.data.contracts import Corpus
from lllm.errors import UserError
from lllm.model.accounting import TRAIN_FACTOR, spent
from lllm.model.latent import LatentModel
from lllm.model.roles import named_roles
from lllm.results.files import Metrics
from lllm.train import checkpoint
from lllm.train.contracts import Named, Objective, Optimizer, Schedule
from lllm.train.evaluate import Evaluation, evaluate
from lllm.train.gradients import Gradients, StepTotals
from lllm.train.hooks import Hook, Moment, progress_at
from lllm.train.log import Window
from lllm.train.world import World

__all__ = ["Diverged", "Failed", "Interrupted", "Settings", "Trainer"]


class Failed(Exception):
    """The run cannot go on. The message is the reason."""


class Diverged(Failed):
    """Its numbers ran away, as its settings and its seed make them: an outcome of the run, not an accident."""


class Interrupted(Exception):
    """Asked to stop; the state is saved."""


@dataclass(frozen=True)
class Settings:
    """steps: of the whole run; lr: peak; clip: gradient norm or None; flops: training FLOPs per step.
    The rest is execution: micro-batch rows, every how many steps to log and evaluate, seconds between checkpoints."""

    steps: int
    seed: int
    lr: float
    clip: float | None
    flops: float
    bfloat16: bool = False
    micro_batch: int | None = None
    compile: bool = False
    log_every: int = 10
    eval_every: int = 0
    checkpoint_seconds: float = 20.0


@dataclass(eq=False, repr=False)
class Trainer:
    """One run's training. valid() gives the validation batches; corpus: whose metrics are evaluated beside bits per
    byte; report(record) is told of every logged record; metrics: of the first process only."""

    model: LatentModel
    _: KW_ONLY
    batches: TrainBatches
    valid: Callable[[], Iterable[Batch]]
    documents: int
    bytes_per_token: Tensor
    objective: Objective
    optimizer: Optimizer
    schedule: Schedule
    hooks: Sequence[Hook]
    settings: Settings
    world: World
    folder: Path
    identity: str
    metrics: Metrics | None
    corpus: Corpus | None = None
    report: Callable[[Mapping[str, Any]], None] = lambda record: None
    stop: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        self.bytes_per_token = self.bytes_per_token.to(self.world.device)
        for hook in self.hooks:
            hook.begin(self.model)
        self._attached: dict[str, torch.Size] = {}  # shapes of the parameters that the optimizer holds
        self._attach()
        self.gradients = Gradients(
            self.model,
            self.objective,
            self.world,
            self.bytes_per_token,
            seed=self.settings.seed,
            micro=self.settings.micro_batch,
            autocast=self.autocast,
            forward=torch.compile(self.model) if self.settings.compile else self.model,
        )
        self.last: dict[str, float] = {}  # global means of the previous step's batch statistics
        self.first_loss: float | None = None
        self.window = Window()
        self.seconds = 0.0  # of training, over all processes that worked on this run
        self._saved = -1  # step of the newest checkpoint

    def autocast(self) -> AbstractContextManager[object]:
        """bfloat16 where the run asks for it."""
        return torch.autocast(self.world.device.type, torch.bfloat16) if self.settings.bfloat16 else nullcontext()

    def run(self) -> Evaluation:
        """Train to the end, from wherever the newest whole checkpoint is, and evaluate.

        Raises:
            Failed: the loss is not finite, or diverged. Interrupted: `stop` said so; the state is saved.
        """
        step, settings = self._resume(), self.settings
        saved = time.monotonic()
        while step < settings.steps:
            began = time.perf_counter()
            self._step(step)
            step += 1
            self.seconds += time.perf_counter() - began
            if step % settings.log_every == 0 or step == settings.steps:
                self._log(step)
            if settings.eval_every and step % settings.eval_every == 0 and step < settings.steps:
                self._write(self.evaluate(step).record(step))
            due = time.monotonic() - saved > settings.checkpoint_seconds
            said = self.world.agree(2.0 * self.stop() + due if self.world.first else 0.0)
            if said:
                self.save(step)
                saved = time.monotonic()
            if said >= 2:
                raise Interrupted(f"stopped after step {step} of {settings.steps}")
        self.save(step)
        evaluation = self.evaluate(step, final=True)
        self._write(evaluation.record(step))
        return evaluation

    def evaluate(self, step: int, *, final: bool = False) -> Evaluation:
        """Score the validation documents after `step` steps; `final` also saves the evaluated weights as those of the
        finished run.

        Raises:
            Failed: the score is not a number.
        """
        with self.evaluated_weights():
            evaluation = evaluate(
                self.model,
                self.valid(),
                documents=self.documents,
                bytes_per_token=self.bytes_per_token,
                corpus=self.corpus,
                world=self.world,
                autocast=self.autocast,
                trained=step / self.settings.steps,
                last=self.last,
            )
            if nonsense := evaluation.nonsense():
                raise Diverged(f"the evaluation gives {nonsense}; try a lower train.lr")
            if final and self.world.first:
                checkpoint.save(self.folder, self.settings.steps, self.identity, self._state(), final=True)
        return evaluation

    @contextmanager
    def evaluated_weights(self) -> Iterator[None]:
        """Within it the model has the weights that are evaluated, which a hook may have swapped in."""
        with ExitStack() as stack:
            for hook in self.hooks:
                hook.before_evaluation()
                stack.callback(hook.after_evaluation)
            yield

    def save(self, step: int) -> None:
        """Write a checkpoint of the state after `step` steps, unless that is the newest there is; every process calls
        it and the first writes."""
        if step == self._saved:
            return
        with ExitStack() as stack:
            for hook in self.hooks:
                hook.before_save()
                stack.callback(hook.after_save)
            if self.metrics is not None:
                state = {
                    **self._state(),
                    "optimizer": self.optimizer.state(),
                    "first_loss": self.first_loss,
                    "window": self.window.state(),
                    "seconds": self.seconds,
                    "metrics": self.metrics.size,
                }
                checkpoint.save(self.folder, step, self.identity, state)
        self._saved = step

    def _state(self) -> dict[str, Any]:
        """What gives the model back, without what its training goes on with."""
        hooks = {hook.name: hook.state() for hook in self.hooks}
        return {"model": weights(self.model), "hooks": hooks, "last": self.last}

    def _attach(self) -> None:
        """Give the optimizer the parameters that the model has now; states that still fit are kept."""
        named = [Named(n, p, role) for n, p, role in named_roles(self.model) if p.requires_grad]
        self.roles = {name: role.kind for name, _, role in named_roles(self.model)}
        before = self.optimizer.state() if self._attached else {}
        shapes = {p.name: p.tensor.shape for p in named}
        self.optimizer.attach(named)
        fitting = {name: state for name, state in before.items() if self._attached.get(name) == shapes.get(name)}
        self._attached = shapes
        if fitting:
            self.optimizer.load_state(fitting)

    def _resume(self) -> int:
        """Load the newest whole checkpoint and cut the metrics back to it; the number of steps done."""
        found = checkpoint.load_resumable(self.folder, self.identity, self.world.device)
        step, state = found or (0, {})
        if self.world.agree(step) != step:
            raise UserError(
                f"{self.folder}: the processes of this run do not see the same checkpoints; expected one folder"
            )
        if state:
            for hook in self.hooks:
                hook.load_state(state["hooks"][hook.name])
            load_weights(self.model, state["model"])
            self._attach()  # a hook may have rebuilt the structure
            self.optimizer.load_state(state["optimizer"])
            self.last, self.seconds, self.first_loss = state["last"], state["seconds"], state["first_loss"]
            self.window = Window.of(state["window"])
            self._saved = step
            for hook in self.hooks:
                hook.after_load()
        if self.metrics is not None:
            self.metrics.truncate(state.get("metrics", 0))
        return step

    def _step(self, step: int) -> None:
        settings, model = self.settings, self.model
        batch = self.batches.at(step, self.world.share(self.batches.size)).to(self.world.device)
        progress = progress_at(step, settings.steps)
        moment = Moment(
            step=step,
            steps=settings.steps,
            seed=settings.seed,
            model=model,
            batch=batch,
            extra_backward=lambda weights=None, rows=None: self.gradients.on_sampled_labels(
                batch,
                step=step,
                progress=progress,
                last=self.last,
                weights=weights,
                until=None if rows is None else step * self.batches.size + rows,
            ),
            reset=self.optimizer.reset,
            rebuilt=self._attach,
        )
        for hook in self.hooks:
            hook.before_step(moment)
        totals = self.gradients(batch, step=step, progress=progress, last=self.last)
        for hook in self.hooks:
            hook.before_update(moment)
        self.last = totals.statistics
        norm, clipped = self._clip()
        self._refuse_nonsense(step, totals, norm)
        logged = (step + 1) % settings.log_every == 0 or step + 1 == settings.steps
        before = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad} if logged else {}
        lr = settings.lr * self.schedule.factor(progress)
        self.optimizer.step(lr)
        if logged:
            self.window.updates = self._updates(before)
        for hook in self.hooks:
            hook.after_step(moment)
        # What data-dependent parts did is known only now; the plan counted what they aim at.
        beyond = spent(model, totals.counts, self.batches.rows.context).flops
        flops = settings.flops + TRAIN_FACTOR * self.batches.size * beyond
        self.window.add(totals, norm=norm, clipped=clipped, lr=lr, flops=flops, metrics=moment.metrics)

    def _clip(self) -> tuple[float, bool]:
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        limit = self.settings.clip if self.settings.clip is not None else math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, limit))
        return norm, norm > limit

    @torch.no_grad()
    def _updates(self, before: Mapping[str, Tensor]) -> dict[str, float]:
        """|update| / |weight| by role, over all parameters of the role."""
        sums: dict[str, Tensor] = {}
        for name, tensor in self.model.named_parameters():
            if name in before and (kind := self.roles.get(name)):
                pair = torch.stack([(tensor - before[name]).square().sum(), before[name].square().sum()])
                sums[kind] = sums[kind] + pair if kind in sums else pair
        return {kind: math.sqrt(float(pair[0] / pair[1])) for kind, pair in sums.items() if float(pair[1]) > 0}

    def _refuse_nonsense(self, step: int, totals: StepTotals, norm: float) -> None:
        """A loss or gradient that is not a number; a loss, once the schedule is past a tenth, of twice what a uniform
        guess has and twice what it began with (which tells even where it is not in nats)."""
        loss = totals.nats / max(totals.weight, 1e-30)
        if self.first_loss is None:
            self.first_loss = loss
        for what, value in (("loss", loss), ("gradient's norm", norm)):
            if not math.isfinite(value):
                raise Diverged(f"the {what} is {value} at step {step + 1}; try a lower train.lr")
        uniform = math.log(self.model.vocab) * (self.model.head.ratio if totals.per_chunk else 1)
        if progress_at(step, self.settings.steps) > 0.1 and loss > 2 * max(uniform, self.first_loss):
            raise Diverged(f"the loss is {loss:.2f} at step {step + 1}, a uniform guess has {uniform:.2f} nats")

    def _log(self, step: int) -> None:
        cuda = self.world.device.type == "cuda"
        memory = torch.cuda.max_memory_allocated() if cuda else psutil.Process().memory_info().rss
        self._write({"step": step, **self.window.flush(), "seconds": self.seconds, "memory": memory})

    def _write(self, record: Mapping[str, Any]) -> None:
        if self.metrics is not None:
            self.metrics.append(dict(record))
            self.report(record)


def weights(model: LatentModel) -> dict[str, Tensor]:
    """Every distinct parameter and buffer by its path."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


@torch.no_grad()
def load_weights(model: LatentModel, state: Mapping[str, Tensor]) -> None:
    """The inverse of `weights`, in place. Raises KeyError on a missing tensor, RuntimeError on a wrong shape."""
    for name, tensor in weights(model).items():
        tensor.copy_(state[name])
