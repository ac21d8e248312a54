"""A trained model in Python: `lllm.load(run)`."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lllm.config import Resolved, Tree, restore
from lllm.data import Corpus, Dataset, Document, Tokenizer
from lllm.data.batches import Batch, TrainBatches, valid_batches
from lllm.data.prepare import shard_of
from lllm.errors import UserError
from lllm.identity import checkpoint_identity, code_fingerprint
from lllm.model import LatentModel
from lllm.model.generate import generate
from lllm.registry import Registry, load_registry
from lllm.results.find import find_run
from lllm.results.run import Run
from lllm.train.checkpoint import load_newest
from lllm.train.evaluate import Evaluation, evaluate
from lllm.train.measures import refuse_unmeasurable
from lllm.train.setup import Setup, hooks_of, training_parts
from lllm.train.trainer import load_weights, weights
from lllm.train.world import World

__all__ = ["Loaded", "TextNats", "load", "restored"]

_COLDEST = 1e-6  # temperatures below it overflow what they divide


@dataclass(frozen=True)
class TextNats:
    """What one text costs, its EOS included. kind: exact or bound, of the likelihood called `likelihood`."""

    nats: float
    bytes: int
    kind: str
    likelihood: str

    @property
    def bpb(self) -> float:
        """Bits per byte; infinite for an empty text, whose EOS costs something."""
        return self.nats / (math.log(2) * self.bytes) if self.bytes else math.inf


class Loaded:
    """A model and what belongs to it. step: after how many training steps the weights are; last: the batch statistics
    of the last of them, for parts that they steer; progress: of training, at which they are; info: its run.json;
    edited: files of its parts, and of what these import, that are not what the run recorded."""

    def __init__(self, run: Run, registry: Registry, resolved: Resolved, device: torch.device) -> None:
        self.edited = _edited(run, registry)
        self.run, self.registry, self.resolved, self.device = run, registry, resolved, device
        self.tokenizer: Tokenizer = resolved.build_data().part("tokenizer")
        self.model, self.step, self.last = self._built()
        self.progress = self.step / max(1, int(self.info["steps"]))

    def __repr__(self) -> str:
        return f"Loaded({self.run.name}, step {self.step}, {self.device})"

    @property
    def info(self) -> dict[str, Any]:
        """run.json."""
        return self.run.info

    @cached_property
    def setup(self) -> Setup:
        """The run's data, prepared now if they are not yet, and what can be built from them."""
        return Setup.prepare(self.registry, self.resolved)

    def batches(self) -> TrainBatches:
        """The run's training batches: `.at(step)`."""
        return self.setup.batches(self.run.seed)

    def evaluate(self, setup: Setup | None = None, progress: Callable[[int], None] = lambda rows: None) -> Evaluation:
        """Score the validation documents of the run, or of another `setup` with the same tokenizer."""
        setup = setup or self.setup
        corpus: Corpus = setup.resolved.build_data().part("corpus")
        refuse_unmeasurable(corpus, self.model.head)
        return self._score(setup.valid(), setup.documents, progress, corpus)

    def loglikelihood(self, texts: Sequence[bytes | str]) -> list[TextNats]:
        """The primary likelihood of each text as one document, cut into rows of data.context tokens as in
        evaluation.

        Raises:
            UserError: the model's head has no likelihood.
        """
        if not texts:
            return []
        data, size = self.resolved.data, self.resolved.train.batch
        shard = shard_of([Document(_raw(text)) for text in texts], self.tokenizer, data.multiple)
        rows = valid_batches([shard], context=data.context, size=size, pad=self.tokenizer.pad)
        scored = self._score(rows, len(texts))
        name, score = scored.primary
        if score.kind == "none":
            raise UserError(f"run '{self.run.name}': '{name}' is no likelihood; expected a head that has one")
        return [
            TextNats(nats, size, score.kind, name)
            for nats, size in zip(score.nats.tolist(), scored.bytes.tolist(), strict=True)
        ]

    def stream(
        self,
        prompts: Sequence[bytes | str],
        bytes: int = 200,
        temperature: float = 1.0,
        top_k: int | None = None,
        seed: int = 0,
    ) -> Iterator[list[bytes]]:
        """Yield what each prompt's text goes on with, a chunk at a time, until each has `bytes` more or has ended."""
        _refuse_nonsense(bytes, temperature, top_k, seed)
        return self._rounds(prompts, bytes, {"temperature": temperature, "top_k": top_k, "seed": seed})

    def _rounds(self, prompts: Sequence[bytes | str], size: int, options: dict[str, Any]) -> Iterator[list[bytes]]:
        left = [size] * len(prompts)
        if not any(left):
            return
        ids = [self.tokenizer.encode(_raw(prompt)).tolist() for prompt in prompts]
        options = {**options, "progress": self.progress, "last": self.last}
        for new in generate(self.model, ids, size, stop=self.tokenizer.eos, **options):
            pieces = [self.tokenizer.decode(row)[:most] for row, most in zip(new, left, strict=True)]
            left = [most - len(piece) for most, piece in zip(left, pieces, strict=True)]
            yield pieces
            if not any(left):
                return

    def generate(
        self,
        prompts: Sequence[bytes | str],
        bytes: int = 200,
        temperature: float = 1.0,
        top_k: int | None = None,
        seed: int = 0,
    ) -> list[bytes]:
        """What each prompt's text goes on with: at most `bytes` bytes, fewer where the text ends before.

        temperature 0 is greedy; top_k None keeps every token. Each prompt draws from a stream of its own, keyed by
        the seed and its place among the prompts.

        Raises:
            UserError: a number out of range.
        """
        texts = [b""] * len(prompts)
        for pieces in self.stream(prompts, bytes, temperature, top_k, seed):
            texts = [text + piece for text, piece in zip(texts, pieces, strict=True)]
        return texts

    def _built(self) -> tuple[LatentModel, int, dict[str, float]]:
        """The model with the weights that the run's result was measured with, or those of its newest checkpoint; after
        how many steps they are, and the batch statistics that steered the last of them."""
        place = self.run.path / "checkpoint"
        found = load_newest(place, checkpoint_identity(self.info), self.device)
        if found is None:
            raise UserError(f"run '{self.run.name}': no whole checkpoint in {place}; train it first")
        without_data = Setup(self.registry, self.resolved, self.tokenizer, Dataset(Path(), {}, (), ()))
        model = without_data.model(self.run.seed, str(self.device))
        hooks = hooks_of(model, training_parts(without_data, model, self.run.seed))
        step, state = found
        try:
            for hook in hooks:  # before the tensors: a hook may change the model's structure
                hook.begin(model)
                hook.load_state(state["hooks"][hook.name])
            strange = sorted(weights(model).keys() ^ state["model"].keys())
            if strange:
                raise KeyError(strange[0])
            load_weights(model, state["model"])
            last = {str(name): float(value) for name, value in state["last"].items()}
        except (KeyError, RuntimeError) as error:
            raise UserError(
                f"run '{self.run.name}': its checkpoint does not fit the model as its parts are written now ({error}); "
                "expected the parts that it was trained with"
            ) from None
        return model.eval(), step, last

    def _score(
        self,
        batches: Iterable[Batch],
        documents: int,
        progress: Callable[[int], None] = lambda rows: None,
        corpus: Corpus | None = None,
    ) -> Evaluation:
        sizes = torch.from_numpy(np.asarray(self.tokenizer.bytes_per_token, dtype=np.int64))
        return evaluate(
            self.model,
            batches,
            documents=documents,
            bytes_per_token=sizes.to(self.device),
            corpus=corpus,
            world=World(device=self.device),
            autocast=self.autocast,
            trained=self.progress,
            last=self.last,
            progress=progress,
        )

    def autocast(self) -> AbstractContextManager[object]:
        """The precision of the run's own evaluations."""
        half = self.resolved.train.precision == "bfloat16" and self.device.type == "cuda"
        return torch.autocast("cuda", torch.bfloat16) if half else nullcontext()


def load(run: str | Path, device: str = "cpu", *, results: Path, plugins: Sequence[str | Path] = ()) -> Loaded:
    """See `lllm.load`."""
    found = find_run(results, str(run))
    registry, resolved = restored(found, plugins)
    loaded = Loaded(found, registry, resolved, _device(device))
    for path in loaded.edited:
        print(f"warning: {path} was edited since {found.name} was trained", file=sys.stderr)
    return loaded


def restored(
    run: Run,
    plugins: Sequence[str | Path] = (),
    *,
    registry: Registry | None = None,
    overrides: Tree | None = None,
) -> tuple[Registry, Resolved]:
    """The parts (or `registry`) and the settings of a run, with `overrides` over them.

    Raises:
        UserError: run.json is damaged; a part or a setting that the run was made with is no longer there.
    """
    try:
        info = run.info
        execution, semantic = dict(info["config"]["execution"]), dict(info["config"]["semantic"])
        experiment, variant = str(info["experiment"]), str(info["variant"])
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{run.path / 'run.json'}: no settings in it; the file is damaged") from None
    recorded = [path for path in execution.pop("plugins", []) if not plugins or Path(path).is_file()]
    execution.pop("shared_timing", None)
    registry = registry or load_registry([*recorded, *plugins])
    origin = str(run.path / "run.json")
    return registry, restore(experiment, variant, semantic, execution, registry, origin, overrides)


def _edited(run: Run, registry: Registry) -> list[Path]:
    """Files of parts, and of what these import, whose source is not what the run recorded."""
    then = run.info.get("parts") or {}
    used = [entry for (kind, name), entry in registry.entries.items() if f"{kind}/{name}" in then]
    return [
        Path(now["path"] or name)
        for name, now in code_fingerprint(used)[1].items()
        if name in then and any(now[key] != then[name].get(key) for key in ("digest", "version"))
    ]


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device = '{name}': expected auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device = '{name}': this machine has {torch.cuda.device_count()} CUDA devices; expected cpu")
    return device


def _raw(text: bytes | str) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def _refuse_nonsense(size: int, temperature: float, top_k: int | None, seed: int) -> None:
    if size < 0:
        raise UserError(f"generate: bytes = {size}: expected 0 or more")
    if temperature != 0 and not _COLDEST <= temperature < math.inf:
        raise UserError(f"generate: temperature = {temperature}: expected 0 (greedy), or at least {_COLDEST:g}")
    if top_k is not None and top_k < 1:
        raise UserError(f"generate: top_k = {top_k}: expected 1 or more")
    if not 0 <= seed < 1 << 63:
        raise UserError(f"generate: seed = {seed}: expected 0 or more")
