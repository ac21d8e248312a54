"""The latent model, the contracts that parts implement, and their accounting."""

from lllm.model.build import Build
from lllm.model.compose import Composition, compose
from lllm.model.context import Context
from lllm.model.incremental import ModelState
from lllm.model.latent import LatentModel
from lllm.model.noise import Noise, initialise, stream
from lllm.model.roles import Role, named_roles, parameter, role_of
from lllm.model.state import State

__all__ = [
    "Build",
    "Composition",
    "Context",
    "LatentModel",
    "ModelState",
    "Noise",
    "Role",
    "State",
    "compose",
    "initialise",
    "named_roles",
    "parameter",
    "role_of",
    "stream",
]
