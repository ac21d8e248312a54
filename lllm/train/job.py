"""One run, from its directory to its result: build, train, evaluate, sample, write."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from lllm.config import Resolved
from lllm.errors import UserError
from lllm.model import LatentModel
from lllm.model.accounting import train_flops_per_token
from lllm.model.contracts import ModelPart
from lllm.model.generate import generate
from lllm.registry import Registry
from lllm.results.documents import Documents, write_documents
from lllm.results.files import Metrics, write_bytes, write_json
from lllm.results.ownership import own
from lllm.train.evaluate import Evaluation
from lllm.train.hooks import Hook
from lllm.train.setup import Setup, made
from lllm.train.stages import Charged, run_stages
from lllm.train.trainer import Failed, Settings, Trainer
from lllm.train.world import World

__all__ = ["train"]

Report = Callable[[Mapping[str, Any]], None]
_PROMPT_BYTES, _TIMED_BYTES, _TEMPERATURE = 32, 128, 0.8


def train(
    path: Path,
    info: Mapping[str, Any],
    resolved: Resolved,
    registry: Registry,
    *,
    world: World,
    report: Report = lambda record: None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Train the run at `path` (its run.json is `info`) from wherever it stands, and write its result.

    Raises:
        Interrupted: `stop` said so; the state is saved. Failed: with its reason, recorded. Owned: another process
        trains this run. UserError: it cannot be run here.
    """
    if not world.first:
        _train(path, info, resolved, registry, world, report, stop)
        return
    with own(path) as ownership:
        try:
            _train(path, info, resolved, registry, world, report, stop)
        except Failed as failure:
            ownership.end("failed", reason=str(failure))
            raise


def _train(
    path: Path, info: Mapping[str, Any], resolved: Resolved, registry: Registry, world: World, report: Report, stop: Any
) -> None:
    seed, execution = int(info["seed"]), resolved.run
    bfloat16 = resolved.train.precision == "bfloat16"
    if bfloat16 and world.device.type != "cuda":
        raise UserError("train.precision = 'bfloat16': runs on CUDA only; expected 'float32' on this device")
    if execution.threads is not None:
        torch.set_num_threads(execution.threads)
    setup = Setup.prepare(registry, resolved)
    model = setup.model(seed, str(world.device))
    batches = setup.batches(seed)
    charged = run_stages(
        model, batches, seed=seed, data=setup.dataset.fingerprint, root=Path(execution.results) / ".stages", world=world
    )
    training = {kind: made(spec) for kind, spec in resolved.parts.items() if kind in _TRAINING}
    if "adapter" in training:
        training["adapter"].attach(model, seed)
    per_token = train_flops_per_token(setup.model(None, "meta"), resolved.data.context)
    optimizer = training["optimizer"]
    steps = int(info["steps"])
    trainer = Trainer(
        model,
        batches=batches,
        valid=setup.valid,
        documents=setup.documents,
        bytes_per_token=setup.bytes_per_token,
        objective=training["objective"],
        optimizer=optimizer,
        schedule=training["schedule"],
        hooks=_hooks(model, training),
        settings=Settings(
            steps=steps,
            seed=seed,
            lr=resolved.train.lr if resolved.train.lr is not None else optimizer.default_lr,
            clip=resolved.train.clip,
            flops=per_token * resolved.data.context * resolved.train.batch,
            bfloat16=bfloat16,
            micro_batch=execution.micro_batch,
            compile=execution.compile,
            log_every=execution.log_every,
            eval_every=execution.eval_every or max(1, steps // 10),
            checkpoint_seconds=execution.checkpoint_seconds,
        ),
        world=world,
        folder=path / "checkpoint",
        identity=f"{info['arm']}-s{seed}",
        metrics=Metrics(path / "metrics.jsonl"),
        report=report,
        stop=stop,
    )
    evaluation = trainer.run()
    if world.first:
        _write(path, info, setup, model, trainer, evaluation, charged)


_TRAINING = ("objective", "optimizer", "schedule", "adapter")


def _hooks(model: LatentModel, training: Mapping[str, Any]) -> list[Hook]:
    parts = [module for module in model.modules() if isinstance(module, ModelPart)]
    hooks = [hook for part in [*parts, *training.values()] for hook in part.hooks()]
    names = [hook.name for hook in hooks]
    if len(set(names)) != len(names):
        raise TypeError(f"two hooks share a name among {names}; each needs its own to find its state again")
    return hooks


def _write(
    path: Path,
    info: Mapping[str, Any],
    setup: Setup,
    model: LatentModel,
    trainer: Trainer,
    evaluation: Evaluation,
    charged: Charged,
) -> None:
    window, scores = trainer.window, evaluation.scores
    index = evaluation.documents
    nats = {name: score.nats for name, score in scores.items()}
    write_documents(path / "documents.npz", Documents(setup.document_hashes()[index], evaluation.bytes, nats))
    speed = _samples(path, setup, model, int(info["seed"]))
    result = {
        **evaluation.result(),
        "parameters": info["sizes"]["parameters"],
        "train_flops_per_byte": (window.flops_seen + charged.flops) / max(window.bytes_seen, 1),
        "train_flops": window.flops_seen + charged.flops,
        "train_bytes": window.bytes_seen,
        "train_tokens": window.tokens_seen,
        "stages": list(charged.names),
        "seconds": trainer.seconds,
        "bytes_per_second": window.bytes_seen / max(trainer.seconds, 1e-9),
        "generation_bytes_per_second": speed,
        "shared_timing": bool(info["config"]["execution"].get("shared_timing", False)),
        "steps": trainer.settings.steps,
        "untuned": True,
    }
    write_json(path / "result.json", result)


def _samples(path: Path, setup: Setup, model: LatentModel, seed: int) -> float | None:
    """Write samples.jsonl and measure generation at batch 1, bytes per second; None for heads that cannot sample."""
    import json

    settings = setup.resolved.eval
    prompts = [b"", *setup.document_starts(max(0, settings.samples - 1), _PROMPT_BYTES)][: settings.samples]
    lines = []
    for i, prompt in enumerate(prompts):
        text = _sample(setup, model, prompt, settings.sample_bytes, seed + i)
        show = {"prompt": prompt, "text": text}
        lines.append(json.dumps({name: raw.decode("utf-8", "replace") for name, raw in show.items()}))
    write_bytes(path / "samples.jsonl", "".join(f"{line}\n" for line in lines).encode())
    began = time.perf_counter()
    made_bytes = len(_sample(setup, model, b"", _TIMED_BYTES, seed, stop=False))
    return made_bytes / (time.perf_counter() - began)


def _sample(setup: Setup, model: LatentModel, prompt: bytes, size: int, seed: int, *, stop: bool = True) -> bytes:
    ids = setup.tokenizer.encode(prompt).tolist()
    end = setup.tokenizer.eos if stop else None
    rounds = generate(model, [ids], size, stop=end, temperature=_TEMPERATURE, seed=seed)
    return b"".join(setup.tokenizer.decode(new[0]) for new in rounds)
