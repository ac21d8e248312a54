"""The suites of the kinds that are no model parts: sound toys pass, broken ones are told what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lllm.check import Failure
from lllm.check.suite import Checker
from lllm.data.batches import Batch
from lllm.data.contracts import Corpus, Document, Ids, Split, Tokenizer
from lllm.model.contracts import TrainOut
from lllm.registry import Build, Entry, Part, PartConfig, Registry, register
from lllm.train.contracts import Named, Objective, Optimizer, Schedule


def failures(cls: type[Part]) -> dict[str, str]:
    registry = Registry().with_parts(cls)
    (entry,) = registry.entries.values()
    return {failure.test: failure.message for failure in Checker(registry).part(entry).failures}


@register("tokenizer", "toy_pairs")
class Pairs(Tokenizer):
    """Two bytes per id where the first is 0, so that sizes differ."""

    vocab, eos, pad, illegal = 514, 512, 513, (513,)

    def encode(self, raw: bytes) -> Ids:
        ids, i = [], 0
        while i < len(raw):
            pair = raw[i] == 0 and i + 1 < len(raw)
            ids.append(256 + raw[i + 1] if pair else raw[i])
            i += 1 + pair
        return np.array(ids, dtype=np.int64)

    def decode(self, ids: Sequence[int] | Ids) -> bytes:
        return b"".join(bytes([0, i - 256]) if i >= 256 else bytes([i]) for i in map(int, ids) if i < 512)

    @property
    def bytes_per_token(self) -> Ids:
        return np.repeat([1, 2, 0], [256, 256, 2])


@register("tokenizer", "bad_text")
class Text(Pairs):
    """Goes through text, and so loses what is no UTF-8."""

    def encode(self, raw: bytes) -> Ids:
        return super().encode(raw.decode(errors="replace").encode())


@register("tokenizer", "bad_eos")
class EndsItself(Pairs):
    """Adds EOS itself."""

    def encode(self, raw: bytes) -> Ids:
        return np.append(super().encode(raw), 512)


@register("tokenizer", "bad_sizes")
class Sizes(Pairs):
    """Calls every id one byte."""

    @property
    def bytes_per_token(self) -> Ids:
        return np.repeat([1, 0], [512, 2])


@register("tokenizer", "bad_special")
class LegalPad(Pairs):
    """Lets padding be predicted."""

    illegal = ()


@register("corpus", "toy_numbers")
class Numbers(Corpus):
    """Numbers as text."""

    def documents(self, split: Split) -> Iterator[Document]:
        return (Document(f"number {i}".encode()) for i in (range(9) if split == "train" else range(9, 12)))

    def digest(self) -> str:
        return "numbers 12"

    def describe(self) -> str:
        return "the first twelve numbers"


@register("corpus", "bad_overlap")
class Overlap(Numbers):
    """Validates on what it trains on."""

    def documents(self, split: Split) -> Iterator[Document]:
        return super().documents("train")


@register("corpus", "bad_digest")
class Unstable(Numbers):
    """Has a digest of the object, not of the documents."""

    def digest(self) -> str:
        return str(id(self))


@register("corpus", "bad_documents")
class Empty(Numbers):
    """Yields an empty document."""

    def documents(self, split: Split) -> Iterator[Document]:
        return iter([Document(b"")])


@register("schedule", "toy_line")
class Line(Schedule):
    """Falls in a straight line."""

    def factor(self, progress: float) -> float:
        return 1 - progress


@register("schedule", "bad_range")
class Overshoots(Schedule):
    """Exceeds 1."""

    def factor(self, progress: float) -> float:
        return 1 + progress


@register("schedule", "bad_rate")
class Late(Schedule):
    """Trains nothing before a tenth of the run."""

    def factor(self, progress: float) -> float:
        return max(0.0, progress - 0.1)


@register("objective", "toy_selective")
class Selective(Objective):
    """Only what the column and the loss itself call hard."""

    columns = ("hard",)

    def weights(self, out: TrainOut, batch: Batch, progress: float, last: Mapping[str, float]) -> Tensor:
        hard = (batch.columns["hard"] > 0.2).view(out.ok.shape) & out.ok
        return hard.to(out.nats.dtype) if out.slots is not None else hard.any(-1).to(out.nats.dtype)


@register("objective", "bad_values")
class ForgetsPadding(Objective):
    """Weighs everything."""

    def weights(self, out: TrainOut, batch: Batch, progress: float, last: Mapping[str, float]) -> Tensor:
        return torch.ones_like(out.nats if out.slots is None else out.slots).detach()


@register("objective", "bad_gradient")
class Descends(Selective):
    """Weighs by the nats, with their gradient."""

    def weights(self, out: TrainOut, batch: Batch, progress: float, last: Mapping[str, float]) -> Tensor:
        return out.nats * out.ok.any(-1) if out.slots is None else out.slots * out.ok


@register("objective", "bad_shape")
class AlwaysTokens(Selective):
    """Weighs tokens when the loss is of chunks."""

    def weights(self, out: TrainOut, batch: Batch, progress: float, last: Mapping[str, float]) -> Tensor:
        return out.ok.to(out.nats.dtype)


@register("optimizer", "toy_momentum")
class Momentum(Optimizer):
    """Momentum with bias correction, decay where the role allows it."""

    default_lr = 1e-2

    def attach(self, parameters: Sequence[Named]) -> None:
        self.named, self.kept = list(parameters), {}

    def step(self, lr: float) -> None:
        for p in self.named:
            if p.tensor.grad is not None:
                old = self.kept.get(p.name, {"m": torch.zeros_like(p.tensor), "n": 0})
                new = {"m": 0.9 * old["m"] + 0.1 * p.tensor.grad, "n": old["n"] + 1}
                rate = lr * p.role.lr_mult
                decay = 0.1 * p.tensor.detach() if p.role.decay else 0.0
                p.tensor.data -= rate * (new["m"] / (1 - 0.9 ** new["n"]) + decay)
                self.kept[p.name] = new

    def reset(self, names: Iterable[str]) -> None:
        for name in names:
            self.kept.pop(name, None)

    def state(self) -> dict[str, Any]:
        return dict(self.kept)

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.kept = dict(state)


@register("optimizer", "bad_descent")
class Climbs(Momentum):
    """Goes up."""

    def step(self, lr: float) -> None:
        super().step(-lr)


@register("optimizer", "bad_rate")
class OwnRate(Momentum):
    """Ignores what it is told."""

    def step(self, lr: float) -> None:
        super().step(self.default_lr)


@register("optimizer", "bad_state")
class HalfState(Momentum):
    """Forgets to save the step count."""

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.kept = {name: {**value, "n": 0} for name, value in state.items()}


@register("optimizer", "bad_reset")
class HalfReset(Momentum):
    """Zeroes the average and keeps the count."""

    def reset(self, names: Iterable[str]) -> None:
        for name in names:
            if name in self.kept:
                self.kept[name] = {**self.kept[name], "m": 0 * self.kept[name]["m"]}


@register("optimizer", "bad_decay")
class DecaysAll(Momentum):
    """Decays what its role forbids."""

    def step(self, lr: float) -> None:
        for p in self.named:
            p.tensor.data *= 1 - 0.1 * lr * p.role.lr_mult
        super().step(lr)


@pytest.mark.parametrize("cls", [Pairs, Numbers, Line, Selective, Momentum])
def test_sound_parts_pass(cls: type[Part]) -> None:
    assert failures(cls) == {}


@pytest.mark.parametrize(
    ("cls", "test", "message"),
    [
        (Text, "round trip", "decode(encode(raw)) differs"),
        (EndsItself, "specials", "EOS and padding are added by the platform"),
        (Sizes, "bytes_per_token", "bytes_per_token says"),
        (LegalPad, "specials", "pad must be illegal"),
        (Overlap, "splits", "is in training"),
        (Unstable, "digest", "different digests"),
        (Empty, "documents", "holds no bytes"),
        (Overshoots, "range", "expected a number in [0, 1]"),
        (Late, "rate", "the factor is 0 at step 1 of 1000"),
        (ForgetsPadding, "values", "where nothing is scored"),
        (Descends, "gradient", "detach them"),
        (AlwaysTokens, "shape", "weights per chunk have shape (4, 3, 4); expected (4, 3)"),
        (Climbs, "descent", "a quadratic goes from"),
        (OwnRate, "rate", "move at learning rate 0"),
        (HalfState, "state", "goes on otherwise"),
        (HalfReset, "reset", "is not a first step"),
        (DecaysAll, "decay", "its role forbids decay"),
    ],
)
def test_broken_parts_are_told_what_is_wrong(cls: type[Part], test: str, message: str) -> None:
    found = failures(cls)
    assert message in found[test], found


class Wheel(Part):
    """A new kind."""

    kind = "wheel"

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.spokes = 3

    @staticmethod
    def conformance(registry: Registry, entry: Entry) -> Iterator[Failure]:
        """The suite that the kind brings."""
        if Build(registry, {}).part("wheel", entry.name).spokes < 4:
            yield Failure("wheel", "spokes", "too few")


def test_a_new_kind_brings_its_suite() -> None:
    @register("wheel", "small")
    class Small(Wheel):
        """Three spokes."""

    assert failures(Small) == {"spokes": "too few"}


def test_what_is_not_said_is_missed() -> None:
    @register("schedule", "silent")
    class Silent(Schedule):
        class Config(PartConfig):
            power: float = 1.0

        def factor(self, progress: float) -> float:
            return 1.0

    Silent.__doc__ = Silent.Config.__doc__ = None
    assert set(failures(Silent)) == {"declares"}
