"""Legal mixers that are unusual: a probe that refuses one of them is wrong. Loaded as a plugin."""

from __future__ import annotations

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from lllm.model import Build, Context, Role, parameter
from lllm.model.contracts import Cost, ParallelMixer
from lllm.model.layers import Linear
from lllm.registry import PartConfig, register


class Unusual(ParallelMixer):
    """y = out(past), with the carried state of every mixer that gives its parallel form alone."""

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.value, self.out = Linear(build.width, build.width), Linear(build.width, build.width)

    def mix(self, x_BND: Tensor, ctx: Context) -> Tensor:
        index_BM, inner = ctx.packed(ctx.ok)  # rows without gaps: column p is position p
        index_BMD = index_BM.unsqueeze(-1).expand(-1, -1, self.width)
        v_BMD = self.value(x_BND.gather(1, index_BMD)) * inner.ok.unsqueeze(-1)
        y_BMD = self.out(self.past(v_BMD, inner))
        return y_BMD.new_zeros(x_BND.shape).scatter(1, index_BMD, y_BMD)

    @abstractmethod
    def past(self, v_BND: Tensor, ctx: Context) -> Tensor:
        """A causal function of the values [B, n, D], whose positions are 0..n-1."""

    def cost(self, n: int) -> Cost:
        """Two square matrices, and `inside`."""
        return Cost.dense(self.value.flops(n) + self.out.flops(n) + self.inside(n))

    def inside(self, n: int) -> float:
        """Contraction FLOPs of `past`."""
        return 0


def mean(v_BND: Tensor) -> Tensor:
    """The mean of the values so far."""
    return v_BND.cumsum(1) / torch.arange(1, v_BND.shape[1] + 1, device=v_BND.device).unsqueeze(-1)


@register("mixer", "legal_conv")
class Conv40(Unusual):
    """A causal convolution over 40 latents."""

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.kernel = parameter(build.width, 40, role=Role("table", std=0.2, decay=False))

    def past(self, v_BND: Tensor, ctx: Context) -> Tensor:
        padded = F.pad(v_BND.transpose(1, 2), (39, 0))
        return F.conv1d(padded, self.kernel.unsqueeze(1), groups=self.width).transpose(1, 2)

    def inside(self, n: int) -> float:
        return 2 * n * 40 * self.width


@register("mixer", "legal_fft")
class LongConv(Unusual):
    """A causal convolution as long as the row, by FFT over twice its length: exact but for round-off, which reaches
    every position from every other."""

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.decay = parameter(build.width, role=Role("vector", std=1.0, decay=False))

    def past(self, v_BND: Tensor, ctx: Context) -> Tensor:
        n = v_BND.shape[1]
        kernel = torch.exp(-torch.sigmoid(self.decay) * torch.arange(n, device=v_BND.device).unsqueeze(-1))
        return torch.fft.irfft(torch.fft.rfft(v_BND, 2 * n, 1) * torch.fft.rfft(kernel, 2 * n, 0), 2 * n, 1)[:, :n]


@register("mixer", "legal_routing")
class Routing(Unusual):
    """Each latent chooses one of 4 routes by its own content, and reads the mean of those before it on that route."""

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.router = Linear(build.width, 4)

    def past(self, v_BND: Tensor, ctx: Context) -> Tensor:
        scores = self.router(v_BND).softmax(-1)
        best, route = scores.max(-1, keepdim=True)
        here = F.one_hot(route.squeeze(-1), 4).to(v_BND.dtype).unsqueeze(-1)
        means = (here * v_BND.unsqueeze(2)).cumsum(1) / here.cumsum(1).clamp(min=1)
        return best * (means * here).sum(2)

    def inside(self, n: int) -> float:
        return self.router.flops(n)


@register("mixer", "legal_documents")
class Documents(Unusual):
    """The mean of the document so far: it begins anew with each."""

    def past(self, v_BND: Tensor, ctx: Context) -> Tensor:
        same = (ctx.segment[:, :, None] == ctx.segment[:, None, :]).tril().to(v_BND.dtype)
        return same @ v_BND / same.sum(-1, keepdim=True)

    def inside(self, n: int) -> float:
        return 2 * n * n * self.width


@register("mixer", "legal_double")
class Double(Unusual):
    """A state in float64 inside a model of another precision."""

    def past(self, v_BND: Tensor, ctx: Context) -> Tensor:
        return mean(v_BND.double()).to(v_BND.dtype)


@register("mixer", "legal_cummax")
class Cummax(Unusual):
    """The largest value so far, of each channel."""

    def past(self, v_BND: Tensor, ctx: Context) -> Tensor:
        return v_BND.cummax(1).values


@register("mixer", "legal_annealing")
class Annealing(Unusual):
    """The past counts half as much at the end of training as at its beginning."""

    def past(self, v_BND: Tensor, ctx: Context) -> Tensor:
        return mean(v_BND) * (1 - 0.5 * ctx.progress)


@register("mixer", "legal_window")
class Window(Unusual):
    """Softmax attention over the newest 16 latents."""

    def past(self, v_BND: Tensor, ctx: Context) -> Tensor:
        n = v_BND.shape[1]
        back = torch.arange(n, device=v_BND.device)[:, None] - torch.arange(n, device=v_BND.device)
        logits = v_BND @ v_BND.transpose(1, 2) * self.width**-0.5
        return logits.masked_fill((back < 0) | (back >= 16), float("-inf")).softmax(-1) @ v_BND

    def inside(self, n: int) -> float:
        return 4 * n * n * self.width
