"""From a resolved configuration to the objects of a run: tokenizer, data, composition, training parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice, pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lllm.config import Resolved
from lllm.data import Corpus, Dataset, Tokenizer, prepare
from lllm.data.batches import Batch, TrainBatches, beginnings, valid_batches
from lllm.data.dataset import Shard
from lllm.errors import UserError
from lllm.identity import code_fingerprint
from lllm.model import Composition, LatentModel, compose
from lllm.model.contracts import ModelPart
from lllm.registry import Registry
from lllm.train.contracts import TrainingPart
from lllm.train.hooks import Hook
from lllm.train.measures import refuse_unmeasurable

__all__ = ["Setup", "hooks_of", "training_parts"]

_TOKENS = 1 << 20  # tokens of a shard looked at together


@dataclass(frozen=True)
class Setup:
    """Data in place, and what can be built from it. text: the digest of a corpus that its config only locates."""

    registry: Registry
    resolved: Resolved
    tokenizer: Tokenizer
    dataset: Dataset
    text: str = ""

    @staticmethod
    def prepare(
        registry: Registry, resolved: Resolved, progress: Callable[[str, int], None] = lambda split, done: None
    ) -> Setup:
        """Prepare the data, or find them prepared.

        Raises:
            UserError: the corpus cannot be read, the tokenizer does not give its bytes back, or data are damaged.
        """
        build = resolved.build_data()
        tokenizer: Tokenizer = build.part("tokenizer")
        corpus: Corpus = build.part("corpus")
        specs = {spec.kind: spec for spec in (resolved.tokenizer, resolved.corpus)}
        nodes = {kind: {**spec.to_node(), "version": spec.entry.version} for kind, spec in specs.items()}
        source, _ = code_fingerprint(named.entry for spec in specs.values() for named in registry.named(spec))
        multiple = resolved.data.multiple
        dataset = prepare(corpus, tokenizer, nodes, multiple=multiple, source=source, progress=progress)
        text = corpus.digest() if corpus.located_by else ""
        return Setup(registry, resolved, tokenizer, dataset, text).under(resolved)

    def under(self, resolved: Resolved) -> Setup:
        """The same data under other settings of what is made from them.

        Raises:
            UserError: the objective reads what the data do not have, or the head cannot score what they score.
        """
        setup = replace(self, resolved=resolved)
        for column in resolved.build().part("objective").columns:
            if column not in setup.batches(0).rows.names:
                raise UserError(
                    f"train.objective '{resolved.parts['objective'].name}': reads the column '{column}', which corpus "
                    f"'{resolved.corpus.name}' does not have"
                )
        refuse_unmeasurable(resolved.build_data().part("corpus"), setup.model(None, "meta").head)
        _refuse_mixed_chunks(setup)
        return setup

    @cached_property
    def bytes_per_token(self) -> Tensor:
        """Raw bytes of each id [V]."""
        return torch.from_numpy(np.asarray(self.tokenizer.bytes_per_token, dtype=np.int64))

    @property
    def documents(self) -> int:
        """Validation documents that are evaluated."""
        return sum(len(shard.sizes) for shard in self.evaluated)

    @property
    def composition(self) -> Composition:
        """The model's parts and sizes."""
        return self.resolved.composition(self.tokenizer.vocab, self.tokenizer.illegal)

    def delta(self) -> dict[str, Any]:
        """What the identity is made from: the settings that differ from their default, with the corpus's digest in
        place of where its text lies."""
        delta, corpus = self.resolved.delta(), self.resolved.corpus
        if self.text:
            node = {"use": corpus.name, **delta.get("corpus", {}), "@text": self.text}
            places: Sequence[str] = getattr(corpus.entry.cls, "located_by", ())
            delta["corpus"] = {name: value for name, value in node.items() if name not in places}
        return delta

    def model(self, seed: int | None = 0, device: str = "cpu") -> LatentModel:
        """The model; device "meta" allocates nothing. Raises UserError on parts that do not fit."""
        return compose(self.registry, self.composition, seed=seed, device=device)

    def batches(self, seed: int) -> TrainBatches:
        """The run's batches, which depend on the data, the seed and the batch's size, never on the model."""
        data = self.resolved.data
        return TrainBatches(
            self.dataset.train,
            context=data.context,
            size=self.resolved.train.batch,
            multiple=data.multiple,
            pad=self.tokenizer.pad,
            seed=seed,
        )

    @cached_property
    def evaluated(self) -> list[Shard]:
        """Of the validation documents, the first ones, what is scored."""
        data, most = self.resolved.data, self.resolved.eval.bytes
        return beginnings(self.dataset.valid, self.tokenizer, data.multiple, most)

    def valid(self) -> Iterator[Batch]:
        """Validation batches in document order."""
        data, size = self.resolved.data, self.resolved.train.batch
        return valid_batches(self.evaluated, context=data.context, size=size, pad=self.tokenizer.pad)

    @property
    def overlap(self) -> tuple[int, int, float]:
        """Evaluated documents more than half of which is in training, of how many, and their share of the evaluated
        bytes."""
        sizes = np.concatenate([shard.sizes for shard in self.evaluated])
        inside = [place for place in self.dataset.info["overlap"] if place < len(sizes)]
        return len(inside), len(sizes), float(sizes[inside].sum() / max(1, sizes.sum()))

    def document_starts(self, count: int, length: int) -> list[bytes]:
        """The first `length` bytes of up to `count` validation documents, as prompts for samples."""
        places = ((shard, begin, end) for shard in self.dataset.valid for begin, end in pairwise(shard.offsets))
        pieces = (shard.tokens[begin : min(end, begin + length)] for shard, begin, end in islice(places, count))
        return [self.tokenizer.decode(piece) for piece in pieces]


def training_parts(setup: Setup, model: LatentModel, seed: int) -> dict[str, Any]:
    """The parts by kind, of every kind whose contract is a `TrainingPart`; an adapter has changed `model`."""
    build, chosen = setup.resolved.build(), setup.resolved.parts
    parts = {kind: build.part(kind) for kind, spec in chosen.items() if issubclass(spec.entry.cls, TrainingPart)}
    if "adapter" in parts:
        parts["adapter"].attach(model, seed)
    return parts


def hooks_of(model: LatentModel, training: Mapping[str, TrainingPart]) -> list[Hook]:
    """The hooks of all parts, the model's first."""
    hooks = [hook for part in model.modules() if isinstance(part, ModelPart) for hook in part.hooks()]
    hooks += [hook for part in training.values() for hook in part.hooks()]
    names = [hook.name for hook in hooks]
    if len(set(names)) != len(names):
        raise TypeError(f"two hooks share a name among {names}; each needs its own to find its state again")
    return hooks


@torch.no_grad()
def _refuse_mixed_chunks(setup: Setup) -> None:
    """Before any training: nats of a whole chunk cannot be told apart where the data score some of its tokens only.

    Raises:
        UserError: the data have such chunks, and the head trains on or is scored by nats of whole chunks.
    """
    slots = setup.model(None, "meta").head.ratio
    train, valid = (
        any(_mixed(shard, slots, setup.tokenizer.pad) for shard in shards)
        for shards in (setup.dataset.train, setup.dataset.valid)
    )
    if not (train or valid):
        return
    model, row = setup.model(0), setup.batches(0).at(0, (0, 1))
    whole = ["train_loss"] if train and model(row, progress=0.0, step=0, seed=0).slots is None else []
    whole += [name for name, value in model.likelihoods(row).items() if valid and value.slots is None]
    if whole:
        raise UserError(
            f"model.head '{setup.resolved.parts['head'].name}': its '{whole[0]}' is of whole chunks of {slots} tokens, "
            f"and corpus '{setup.resolved.corpus.name}' scores some tokens of a chunk only; expected unscored spans of "
            "whole chunks, or a head with nats per token"
        )


def _mixed(shard: Shard, slots: int, pad: int) -> bool:
    """Whether a chunk has real tokens that are scored and real ones that are not; documents begin with a chunk."""
    if "scored" not in shard.columns:
        return False
    step = _TOKENS // slots * slots
    for start in range(0, len(shard.tokens), step):
        real = np.asarray(shard.tokens[start : start + step]).reshape(-1, slots) != pad
        scored = np.asarray(shard.columns["scored"][start : start + step]).reshape(-1, slots) > 0
        if bool(((real & scored).any(1) & (real & ~scored).any(1)).any()):
            return True
    return False
