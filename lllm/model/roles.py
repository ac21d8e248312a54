"""Roles: what a parameter is for. Optimizers and adapters route by role, never by name or shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

__all__ = ["Role", "RoleKind", "named_roles", "parameter", "role_of"]

RoleKind = Literal["embedding", "unembedding", "matrix", "vector", "table"]


@dataclass(frozen=True)
class Role:
    """The role of one parameter, with hints for whoever trains or adapts it.

    std: standard deviation of its normal initialisation; 0 for the constant `fill`.
    blocks: leading dimensions that are independent matrices (a bank of experts), for orthogonalising optimizers.
    """

    kind: RoleKind
    std: float = 0.0
    fill: float = 0.0
    lr_mult: float = 1.0
    decay: bool = True
    float32: bool = False
    blocks: int = 0

    @property
    def fan_in_last(self) -> bool:
        """Whether re-initialisation scales with the last dimension."""
        return self.kind in ("matrix", "unembedding")


def parameter(*shape: int, role: Role) -> nn.Parameter:
    """An uninitialised parameter carrying its role; `initialise` fills it from the stream of its path."""
    tensor = nn.Parameter(torch.empty(*shape))
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
