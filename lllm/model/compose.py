"""From chosen parts to a model: what does not fit is refused here, before any weight exists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from lllm.errors import BuildError, UserError
from lllm.model.build import Build
from lllm.model.contracts import Mixer
from lllm.model.latent import LatentModel
from lllm.model.noise import initialise
from lllm.model.roles import role_of
from lllm.registry import PartSpec, Registry

__all__ = ["Composition", "compose"]


@dataclass(frozen=True)
class Composition:
    """Everything that determines a model's shape. parts: kind -> chosen part (embedding, downsampler, mixer, ffn,
    block, trunk, visibility, head). token_width None is the width at ratio 1, half of it otherwise."""

    parts: Mapping[str, PartSpec]
    width: int
    ratio: int
    vocab: int
    illegal: tuple[int, ...] = ()
    token_width: int | None = None

    @property
    def d(self) -> int:
        """Token width."""
        return self.token_width or (self.width if self.ratio == 1 else self.width // 2)


def compose(
    registry: Registry,
    choice: Composition,
    *,
    seed: int | None = 0,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
) -> LatentModel:
    """The model of a composition; `seed` None leaves the weights uninitialised, device "meta" allocates none.

    Raises:
        UserError: parts that do not fit together.
    """
    build = Build(registry, choice.parts, choice.width, choice.d, choice.ratio, choice.vocab, choice.illegal)
    with torch.device("meta"):
        model = LatentModel(build)
    _refuse_misfits(model, choice)
    _refuse_orphans(model, build)
    if device == "meta":
        return model
    _allocate(model, device, dtype)
    if seed is not None:
        initialise(model, seed)
    return model


def _allocate(model: LatentModel, device: str, dtype: torch.dtype | None) -> None:
    """Weights in place of the meta device's. Conversion makes a new parameter for every mention of one, without role:
    those that were one are one again. Those whose role says float32 keep at least that precision."""
    mentions = [
        (module, name, tensor)
        for module in model.modules()
        for name, tensor in module.named_parameters(recurse=False, remove_duplicate=False)
    ]
    (model.to(dtype) if dtype else model).to_empty(device=device)
    made: dict[int, nn.Parameter] = {}
    for module, name, tensor in mentions:
        new = made.setdefault(id(tensor), getattr(module, name))
        if role_of(tensor).float32 and new.dtype.itemsize < 4:
            new = made[id(tensor)] = nn.Parameter(new.to(torch.float32))
        new.lllm_role = role_of(tensor)  # type: ignore[attr-defined]
        setattr(module, name, new)


def _refuse_orphans(model: LatentModel, build: Build) -> None:
    """What layers share must be somebody's submodule, or it would have no weights."""
    known = set(map(id, model.modules()))
    for name, module in build.made:
        if id(module) not in known:
            raise BuildError(
                f"'{name}' ({type(module).__name__}) is shared by layers and registered by none; expected whoever runs "
                "the layers to have nn.ModuleDict(build.shared)"
            )


def _refuse_misfits(model: LatentModel, choice: Composition) -> None:
    said = {kind: f"model.{kind} '{spec.name}'" for kind, spec in choice.parts.items()}
    down, head, visibility = model.downsampler, model.head, model.visibility
    if down.ratios is not None and choice.ratio not in down.ratios:
        runs = ", ".join(map(str, down.ratios))
        raise UserError(f"{said['downsampler']} runs at ratio {runs} only, and model.ratio is {choice.ratio}")
    if head.wants_tokens and not (down.hands_tokens and down.token_causal):
        raise UserError(f"{said['head']} reads causal token states and {said['downsampler']} hands out none")
    if down.dynamic and not head.wants_tokens:
        raise UserError(
            f"{said['downsampler']} learns the number of latents and {said['head']} emits whole chunks; expected a "
            "head that reads token states"
        )
    if down.dynamic and visibility.noncausal_region:
        raise UserError(
            f"{said['visibility']} has a non-causal region, counted in chunks of model.ratio tokens, and "
            f"{said['downsampler']} learns where chunks end"
        )
    missing = sorted(set(head.reads) - set(down.lends))
    if missing or (head.reads and not head.wants_tokens):
        why = f"which {said['downsampler']} does not lend" if missing else "and does not run at token rate"
        raise UserError(f"{said['head']} reads '{[*missing, *head.reads][0]}' of each token, {why}")
    for path, module in model.trunk.named_modules():
        if not isinstance(module, Mixer):
            continue
        mixer = f"the mixer at trunk.{path} ({type(module).__name__})"
        if visibility.noncausal_region and not module.honours_visibility:
            raise UserError(f"{said['visibility']} has a non-causal region and {mixer} is causal by construction")
        missing = sorted(set(module.reads) - set(model.trunk.lends))
        if missing:
            raise UserError(f"{mixer} reads '{missing[0]}', which {said['trunk']} does not lend")
