"""Every latent sees itself and what came before it."""

from __future__ import annotations

from lllm.model.contracts import Visibility
from lllm.registry import PartConfig, register


@register("visibility", "causal")
class CausalVisibility(Visibility):
    """allow(q, k) = k <= q; every target carries loss: the contract's own defaults."""

    class Config(PartConfig):
        """No options."""
