"""One run, from its directory to its result: build, train, evaluate, sample, write."""

from __future__ import annotations

import hashlib
import json
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lllm.config import Resolved
from lllm.errors import UserError
from lllm.identity import checkpoint_identity
from lllm.model.accounting import train_flops_per_token
from lllm.model.generate import generate
from lllm.registry import Registry
from lllm.registry.build import place_of
from lllm.results.documents import Documents, write_documents
from lllm.results.files import Metrics, file_digest, write_bytes, write_json
from lllm.results.ownership import Owned, own
from lllm.results.probed import FILE as PROBE
from lllm.results.probed import proof_digest
from lllm.train.checkpoint import discard
from lllm.train.evaluate import Evaluation
from lllm.train.mirror import mirrored
from lllm.train.probing import Probing
from lllm.train.recheck import refuse_changes, used_parts
from lllm.train.setup import Setup, hooks_of, training_parts
from lllm.train.stages import Charged, run_stages
from lllm.train.trainer import Diverged, Failed, Interrupted, Settings, Trainer
from lllm.train.world import World, numerics, refuse_device, refuse_dtype

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
        trains this run. UserError: it cannot be run here, or a part or the data changed since `info` was written.
    """
    with _owned(path, resolved, registry, world, stop) as stop, ExitStack() as stack:
        seed, execution = int(info["seed"]), resolved.run
        refuse_device(str(world.device), resolved.train.precision)
        if execution.threads is not None:
            torch.set_num_threads(execution.threads)
        setup = Setup.prepare(registry, resolved)
        model, batches = setup.model(seed, str(world.device)), setup.batches(seed)
        refuse_dtype()
        refuse_changes(info, used_parts(model, resolved), setup.dataset.fingerprint)
        if world.first:  # the plan knew the process that made it, and not this one
            info = {**info, "environment": {**(info.get("environment") or {}), **numerics()}}
            write_json(path / "run.json", info)
        root, data = Path(execution.results) / ".stages", setup.dataset.fingerprint
        charged = run_stages(model, batches, seed=seed, data=data, root=root, world=world, stop=stop)
        training = training_parts(setup, model, seed)
        metrics = None
        if world.first:
            metrics = stack.enter_context(Metrics(path / "metrics.jsonl"))
            report = stack.enter_context(mirrored(execution.wandb, path, info, report))
        trainer = Trainer(
            model,
            batches=batches,
            valid=setup.valid,
            documents=setup.documents,
            bytes_per_token=setup.bytes_per_token,
            objective=training["objective"],
            optimizer=training["optimizer"],
            schedule=training["schedule"],
            hooks=hooks_of(model, training),
            settings=_settings(setup, int(info["steps"]), seed),
            world=world,
            folder=path / "checkpoint",
            identity=checkpoint_identity(info),
            metrics=metrics,
            corpus=resolved.build_data().part("corpus"),
            report=report,
            stop=stop,
        )
        probing = Probing(path, setup, trainer, final="trial" not in info)
        probing.begin()
        evaluation = trainer.run()
        probing.end(evaluation)
        if world.first:
            _write(path, info, setup, trainer, evaluation, charged)
            discard(path / "checkpoint")  # what it would resume from


@contextmanager
def _owned(
    path: Path, resolved: Resolved, registry: Registry, world: World, stop: Callable[[], bool]
) -> Iterator[Callable[[], bool]]:
    """Within it the run is this process's, if that is the first; how it fails is recorded. Yields `stop` as it is then
    asked at every step."""
    if not world.first:
        with _explained(path / f"error.{world.rank}.log", registry):
            yield stop
        return
    with own(path) as ownership:

        def stopping() -> bool:
            ownership.check()
            return stop()

        try:
            with _explained(path / "error.log", registry):
                yield stopping
        except Failed as failure:
            ownership.end("diverged" if isinstance(failure, Diverged) else "failed", reason=str(failure))
            raise
        except torch.OutOfMemoryError:
            rows = max(1, resolved.train.batch // (2 * world.size))
            raise UserError(
                f"{path}: the device has not enough memory; expected fewer rows at once, as run.micro_batch={rows}"
            ) from None


@contextmanager
def _explained(log: Path, registry: Registry) -> Iterator[None]:
    """What a part raises is a reason to fail: in one sentence here, with its traceback in `log`."""
    try:
        yield
    except (UserError, Failed, Interrupted, Owned, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:  # a stranger's part may raise anything at all
        files = {entry.path for entry in registry.of(registry.kinds())}
        write_bytes(log, traceback.format_exc().encode())
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        raise Failed(f"{what} ({place_of(error, files)}); the traceback is in {log}") from error


def _settings(setup: Setup, steps: int, seed: int) -> Settings:
    resolved, execution = setup.resolved, setup.resolved.run
    per_token = train_flops_per_token(setup.model(None, "meta"), resolved.data.context)
    return Settings(
        steps=steps,
        seed=seed,
        lr=resolved.lr,
        clip=resolved.train.clip,
        flops=per_token * resolved.data.context * resolved.train.batch,
        bfloat16=resolved.train.precision == "bfloat16",
        micro_batch=execution.micro_batch,
        compile=execution.compile,
        log_every=execution.log_every,
        eval_every=execution.eval_every or max(1, steps // 10),
        checkpoint_seconds=execution.checkpoint_seconds,
    )


def _write(
    path: Path, info: Mapping[str, Any], setup: Setup, trainer: Trainer, evaluation: Evaluation, charged: Charged
) -> None:
    window, flops = trainer.window, trainer.window.flops_seen + charged.flops
    hashes = np.concatenate([shard.hashes for shard in setup.evaluated])[evaluation.documents]
    targets = [np.ascontiguousarray(array).tobytes() for array in (hashes, evaluation.bytes, evaluation.ends)]
    nats = {name: score.nats for name, score in evaluation.scores.items() if score.kind != "none"}
    write_documents(path / "documents.npz", Documents(hashes, evaluation.bytes, nats))
    with trainer.evaluated_weights():
        speed = _samples(path, setup, trainer)
    result = {
        **evaluation.result(),
        "targets": hashlib.blake2b(b"".join(targets), digest_size=16).hexdigest(),
        "overlap": setup.overlap[2],
        "parameters": info["sizes"]["parameters"],
        "train_flops_per_byte": flops / max(window.bytes_seen, 1),
        "train_flops": flops,
        "train_bytes": window.bytes_seen,
        "train_tokens": window.tokens_seen,
        "stages": list(charged.names),
        "seconds": trainer.seconds,
        "bytes_per_second": window.bytes_seen / max(trainer.seconds, 1e-9),
        "generation_bytes_per_second": speed,
        "shared_timing": bool(info["config"]["execution"].get("shared_timing", False)),
        "steps": trainer.settings.steps,
        "untuned": True,
        "finished_at": time.time(),
        "digests": {
            **{name: file_digest(path / name) for name in ("documents.npz", "metrics.jsonl")},
            PROBE: proof_digest(path),
        },
    }
    write_json(path / "result.json", result)


def _samples(path: Path, setup: Setup, trainer: Trainer) -> float:
    """Write samples.jsonl and measure generation at batch 1, bytes per second."""
    settings, seed = setup.resolved.run, trainer.settings.seed
    prompts = [b"", *setup.document_starts(max(0, settings.samples - 1), _PROMPT_BYTES)][: settings.samples]
    lines = []
    for i, prompt in enumerate(prompts):
        text = _sample(setup, trainer, prompt, settings.sample_bytes, seed + i)
        show = {"prompt": prompt, "text": text}
        lines.append(json.dumps({name: raw.decode("utf-8", "replace") for name, raw in show.items()}))
    write_bytes(path / "samples.jsonl", "".join(f"{line}\n" for line in lines).encode())
    began = time.perf_counter()
    made_bytes = len(_sample(setup, trainer, b"", _TIMED_BYTES, seed, stop=False))
    return made_bytes / (time.perf_counter() - began)


def _sample(setup: Setup, trainer: Trainer, prompt: bytes, size: int, seed: int, *, stop: bool = True) -> bytes:
    model, end = trainer.model, setup.tokenizer.eos if stop else None
    ids = setup.tokenizer.encode(prompt).tolist()
    if model.head.prefix_conditional == "none":  # it cannot continue a chunk: the prompt's whole ones only
        ids = ids[: len(ids) // model.head.ratio * model.head.ratio]
    rounds = generate(model, [ids], size, stop=end, temperature=_TEMPERATURE, seed=seed, last=trainer.last)
    return b"".join(setup.tokenizer.decode(new[0]) for new in rounds)
