"""A low-rank term beside every matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lllm.model import LatentModel, Role, named_roles, parameter, stream
from lllm.registry import PartConfig, register
from lllm.train.contracts import Adapter


class _Term(nn.Module):
    """W -> W + up down; the names and roles of the two matrices are those that optimizers and checkpoints see."""

    def __init__(self, shape: Sequence[int], rank: int) -> None:
        super().__init__()
        self.down = parameter(rank, shape[1], role=Role("matrix", std=shape[1] ** -0.5))
        self.up = parameter(shape[0], rank, role=Role("matrix"))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.up @ self.down


@register("adapter", "low_rank", refs=["arXiv:2106.09685"])
class LowRank(Adapter):
    """Freezes every matrix and trains a low-rank term beside it, which begins as zero."""

    class Config(PartConfig):
        """rank: of each term."""

        rank: Annotated[int, Field(ge=1)] = 4

    config: Config

    def attach(self, model: LatentModel, seed: int) -> None:
        matrices = [(path, p) for path, p, role in named_roles(model) if role.kind == "matrix" and p.dim() == 2]
        for path, matrix in matrices:
            owner, _, name = path.rpartition(".")
            term = _Term(matrix.shape, self.config.rank).to(matrix)
            with torch.no_grad():
                noise = torch.randn(term.down.shape, generator=stream(seed, "init", f"{path}.down"))
                term.down.copy_(noise * matrix.shape[1] ** -0.5)
                term.up.zero_()
            matrix.requires_grad_(False)
            parametrize.register_parametrization(model.get_submodule(owner), name, term)
