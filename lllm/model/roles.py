"""Roles: what a parameter is for. Optimizers and adapters route by role, never by name or shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn

__all__ = ["Role", "named_roles", "parameter", "role_of"]

_DECAYING = ("matrix", "unembedding")


@dataclass(frozen=True)
class Role:
    """The role of one parameter, with hints for whoever trains or adapts it.

    std: standard deviation of its normal initialisation; 0 for the constant `fill`.
    decay: whether weight decay acts on it; None, resolved at once, is yes for matrices and unembeddings only.
    blocks: independent matrices of one size that stand one after the other along the first dimension, for optimizers
    that treat a matrix as a whole: tensor.view(blocks, -1, last dimension). A bank of 8 experts [8, m, n] has 8; fused
    queries, keys and values [3 D, D] have 3.
    float32: too delicate for half precision: it is kept in float32 at least where the rest of a model is not.
    fan_in: how many inputs meet in one output; None becomes, in `parameter`, the last dimension of matrices and
    unembeddings, and stays unknown of others. With it, weights of standard deviation fan_in^-1/2 keep a unit scale.
    """

    kind: Literal["embedding", "unembedding", "matrix", "vector", "table"]
    std: float = 0.0
    fill: float = 0.0
    lr_mult: float = 1.0
    decay: bool | None = None
    float32: bool = False
    blocks: int = 1
    fan_in: int | None = None

    def __post_init__(self) -> None:
        if self.decay is None:
            object.__setattr__(self, "decay", self.kind in _DECAYING)


def parameter(*shape: int, role: Role) -> nn.Parameter:
    """An uninitialised parameter carrying its role; `initialise` fills it from the stream of its path."""
    tensor = nn.Parameter(torch.empty(*shape))
    if role.fan_in is None and role.kind in _DECAYING:
        role = replace(role, fan_in=shape[-1])
    tensor.lllm_role = role  # type: ignore[attr-defined]
    return tensor


def role_of(tensor: nn.Parameter) -> Role:
    """The role of a parameter.

    Raises:
        TypeError: it was created without one; make it with `parameter(...)` or `lllm.model.layers.Linear`.
    """
    role = getattr(tensor, "lllm_role", None)
    if not isinstance(role, Role):
        raise TypeError(f"a parameter of shape {tuple(tensor.shape)} has no role; create it with lllm.model.parameter")
    return role


def named_roles(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, Role]]:
    """(path, parameter, role) of every distinct parameter, in registration order."""
    for name, tensor in model.named_parameters():
        yield name, tensor, role_of(tensor)
