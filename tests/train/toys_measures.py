"""Toy parts that measure more than nats. They live in the tests only."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lllm.data import Corpus, Document, Scored
from lllm.data.contracts import Split
from lllm.model import Build, State
from lllm.model.contracts import Conditional, Cost, Head, Hidden, Likelihood
from lllm.model.sampling import Sampling
from lllm.registry import PartConfig, register
from tests.check.heads import SamplerHead

GUESS = ord("x")


@register("corpus", "toy_recall")
class Recall(Corpus):
    """Letters, each with a digit; then one of them again, and its digit: the answer."""

    greedy = True

    def documents(self, split: Split) -> Iterator[Document]:
        random = np.random.default_rng(["train", "valid"].index(split))
        for _ in range(40):
            pairs = np.stack([random.permutation(list(b"abcdefgh"))[:4], random.integers(48, 58, 4)], 1)
            raw = bytes([*pairs.flatten(), *pairs[random.integers(4)]])
            yield Document(raw, columns={"answer": (np.arange(len(raw)) == len(raw) - 1).astype(np.float32)})

    def digest(self) -> str:
        return "1"

    def describe(self) -> str:
        return "letters and digits"

    def metrics(self, scored: Scored) -> Mapping[str, tuple[Tensor, Tensor]]:
        answer = scored.ok & (scored.columns["answer"] > 0) & (scored.bytes > 0)
        count = answer.sum((1, 2))
        found = {}
        if scored.greedy is not None:
            found["accuracy"] = (((scored.greedy == scored.chunk) & answer).sum((1, 2)), count)
        if scored.nats is not None:
            found["answer_bits"] = ((scored.nats * answer).sum((1, 2)), count)
        return found

    def conclude_metrics(self, means: Mapping[str, float]) -> Mapping[str, float]:
        return {name: mean / math.log(2) if name == "answer_bits" else mean for name, mean in means.items()}


@register("corpus", "toy_fickle")
class Fickle(Recall):
    """Names what it measures after the rows that it is given."""

    greedy = False

    def metrics(self, scored: Scored) -> Mapping[str, tuple[Tensor, Tensor]]:
        return {f"of {len(scored.ok)}": (scored.ok.sum((1, 2)), torch.ones(len(scored.ok)))}


@register("corpus", "toy_whole")
class Whole(Recall):
    """Gives one number for all rows."""

    greedy = False

    def metrics(self, scored: Scored) -> Mapping[str, tuple[Tensor, Tensor]]:
        return {"tokens": (scored.ok.sum(), torch.ones(()))}


@register("head", "toy_backwards")
class BackwardsHead(Head):
    """Draws a chunk from its last slot on: there GUESS is the likeliest, elsewhere the token drawn just before it."""

    def table(self) -> list[Conditional]:
        return [(k, frozenset(range(k + 1, self.ratio))) for k in range(self.ratio)]

    def plan(self, known: int) -> Sequence[int]:
        return range(self.ratio - 1, known - 1, -1)

    def observed(self, slot: int, known: frozenset[int]) -> frozenset[int]:
        return frozenset(k for k in known if k > slot)

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.vocab = build.vocab

    def conditionals(
        self, x: Hidden, which: Sequence[Conditional], state: State | None = None
    ) -> Mapping[Conditional, Tensor]:
        likely = torch.cat([x.chunk[:, :, 1:], torch.full_like(x.chunk[:, :, :1], GUESS)], 2)
        logits = 5.0 * F.one_hot(likely, self.vocab).to(x.hidden.dtype)
        return {(k, seen): logits[:, :, k] for k, seen in which}

    def likelihoods(self, x: Hidden) -> Mapping[str, Likelihood]:
        logits = torch.stack(list(self.conditionals(x, self.table()).values()), 2)
        nats = F.cross_entropy(logits.flatten(0, 2), x.chunk.flatten(), reduction="none").view(x.ok.shape) * x.ok
        return {"backwards": Likelihood("exact", nats.sum(-1), nats, primary=True)}

    def cost(self, n: int) -> Cost:
        """Nothing is multiplied."""
        return Cost()


@register("head", "toy_accurate")
class AccurateHead(BackwardsHead):
    """Reports a number under the name of the corpus's."""

    def metrics(self, x: Hidden) -> Mapping[str, tuple[Tensor, Tensor]]:
        return {"accuracy": (x.ok.sum((1, 2)), x.ok.sum((1, 2)))}


@register("head", "toy_samples")
class SamplesHead(SamplerHead):
    """No likelihood: trained by a distance, measured by it and by Brier scores of the first tokens of two samples."""

    class Config(PartConfig):
        """noise: of a sample."""

        noise: float = 1.0

    def __init__(self, config: Config, build: Build) -> None:
        super().__init__(config, build)
        self.noise = config.noise

    def sample(self, hidden: Tensor, noise: Tensor) -> Tensor:
        """Ids [..., R]: the nearest byte to a noisy aim."""
        aim = self.up(hidden).unflatten(-1, (self.ratio, -1)) + self.noise * noise.to(hidden.dtype)
        return torch.cdist(aim.flatten(0, -2), self.tokens.weight[:256]).argmin(-1).view(aim.shape[:-1])

    def draw(self, opened: Tensor, x: Hidden, sampling: Sampling, state: State | None = None) -> Tensor:
        shape = (self.ratio, self.tokens.weight.shape[1])
        noise = torch.stack([torch.randn(shape, generator=generator) for generator in sampling.generators])
        return torch.where(x.ok[:, 0], x.chunk[:, 0], self.sample(x.hidden[:, 0], noise))

    def metrics(self, x: Hidden) -> Mapping[str, tuple[Tensor, Tensor]]:
        shape = (*x.chunk.shape[1:], self.tokens.weight.shape[1])
        one, two = (
            self.sample(x.hidden, x.ctx.noise.normal(f"{self.path}.{name}", x.ctx.rows, *shape)) for name in "ab"
        )
        found = {"distance": (self.likelihoods(x)["distance"].nats.sum(1), x.ok.sum((1, 2)))}
        for n in (1, 2):
            a, b, both = ((p[:, :, :n] == q[:, :, :n]).all(-1) for p, q in ((one, x.chunk), (two, x.chunk), (one, two)))
            whole = x.ok[:, :, :n].all(-1)
            found[f"brier_{n}"] = (((a.long() + b.long() - both.long()) * whole).sum(1), whole.sum(1))
        return found

    def conclude_metrics(self, means: Mapping[str, float]) -> Mapping[str, float]:
        """100 * the geometric mean of the scores, 0 where their product is below; NaN where one is."""
        product = means["brier_1"] * means["brier_2"]
        return {"distance": means["distance"], "brier": 0.0 if product <= 0 else 100 * math.sqrt(product)}
