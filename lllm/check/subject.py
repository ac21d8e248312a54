"""What the suite examines: one composition, built small in float64 with every weight drawn anew."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lllm.model import Composition, LatentModel, compose
from lllm.model.contracts import ModelPart
from lllm.model.noise import stream
from lllm.model.roles import named_roles
from lllm.registry import Registry

__all__ = ["CHUNKS", "ILLEGAL", "LEGAL", "Subject", "calibrate_", "randomise_"]

CHUNKS = 6  # a leak by selection shows in half the draws with 3 chunks, in all of them with 6
LEGAL = 5  # legal ids of the model that most tests examine
ILLEGAL = LEGAL + 1  # an id that stands where nothing may be read
_SPREAD = 0.7


class Subject:
    """A composition under one seed. Ids 1..legal are legal outcomes; 0 and legal + 1 are not.

    Whatever the weights start from is thrown away: outputs that begin at zero would hide every leak.
    """

    def __init__(self, registry: Registry, choice: Composition, seed: int) -> None:
        self.registry, self.choice, self.seed = registry, choice, seed
        self._small: dict[int, LatentModel] = {}

    @cached_property
    def model(self) -> LatentModel:
        """The composition with five legal ids."""
        return self.small(LEGAL)

    def small(self, legal: int) -> LatentModel:
        """The composition with `legal` legal ids, randomised, calibrated, in evaluation mode."""
        if legal not in self._small:
            choice = replace(self.choice, vocab=legal + 2, illegal=(0, legal + 1))
            model = compose(self.registry, choice, dtype=torch.float64).eval()
            randomise_(model, self.seed)
            calibrate_(model, self.tokens(8, CHUNKS * choice.ratio, "calibration", legal=legal))
            self._small[legal] = model
        return self._small[legal]

    def tokens(self, rows: int, length: int, purpose: str, *, legal: int = LEGAL) -> Tensor:
        """Uniform legal ids [rows, length], the same for the same seed and purpose."""
        return torch.randint(1, legal + 1, (rows, length), generator=self.random(purpose))

    def random(self, purpose: str) -> torch.Generator:
        """The random stream of one purpose under this seed."""
        return stream(self.seed, "check", purpose)


@torch.no_grad()
def randomise_(model: nn.Module, seed: int) -> None:
    """Matrices N(0, 1 / fan_in), everything else N(0, 0.7^2): wider spreads saturate, narrower ones hide leaks."""
    for name, tensor, role in named_roles(model):
        std = role.fan_in**-0.5 if role.fan_in else _SPREAD
        drawn = torch.randn(tensor.shape, generator=stream(seed, "check", name), dtype=torch.float64)
        tensor.copy_(drawn * std)
    for buffer in model.buffers():
        buffer.zero_()
    for module in model.modules():
        if isinstance(module, ModelPart):
            module.fill_buffers_()


@torch.no_grad()
def calibrate_(model: LatentModel, tokens: Tensor) -> None:
    """One pass in which each part with thresholds is calibrated on its own inputs, just before it reads them."""
    handles: list[RemovableHandle] = []
    for module in model.modules():
        if isinstance(module, ModelPart) and type(module).calibrate_ is not ModelPart.calibrate_:
            handles.append(module.register_forward_pre_hook(_calibrate_once))
    try:
        ok = torch.ones_like(tokens, dtype=torch.bool)
        model.hidden(tokens, ok, torch.zeros(len(tokens), dtype=torch.long))
    finally:
        for handle in handles:
            handle.remove()


def _calibrate_once(module: nn.Module, inputs: tuple[object, ...]) -> None:
    assert isinstance(module, ModelPart)
    module.calibrate_(*(value for value in inputs if isinstance(value, Tensor)))
