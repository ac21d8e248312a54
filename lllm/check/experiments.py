"""The compositions that experiments ask about, small: what is shipped as a question conforms as a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from lllm.check.compositions import WIDTH, fits
from lllm.config import list_experiments, load_experiment, resolve
from lllm.config.tree import Tree
from lllm.errors import UserError
from lllm.model import Composition
from lllm.registry import Registry

__all__ = ["asked"]


def asked(registry: Registry) -> Iterator[tuple[str, Composition]]:
    """('experiment variant', composition) of every variant of every experiment that can be read, at the suite's width,
    or the next multiple of it at which the parts fit together; at its own where they do at none of them."""
    for listed in list_experiments():
        if listed.problem:
            continue
        experiment = load_experiment(listed.name)
        for variant in experiment.variants:
            try:
                own = resolve(experiment, variant, Tree(), registry).composition(vocab=7, illegal=())
            except UserError:  # a part that is not installed here; `lllm list` and `lllm run` say so
                continue
            widths = (WIDTH << i for i in range(4))
            small = (replace(own, width=width, token_width=None) for width in widths)
            yield f"{listed.name} {variant}", next((choice for choice in small if fits(registry, choice)), own)
