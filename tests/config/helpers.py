"""Experiments in a temporary folder, and the parts that tests of settings need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lllm.config import Resolved, load_experiment, resolve, split_words
from lllm.registry import Part, PartConfig, Registry, register

PLAIN = "hypothesis: a test\nbudget: {steps: 10}\n"


class ToyLauncher(Part):
    """Stands in for whatever launches runs: settings only need its name and its fields."""

    kind = "launcher"
    section = "run"


@register("launcher", "local")
class Local(ToyLauncher):
    """A launcher."""

    class Config(PartConfig):
        """shell: an option."""

        shell: bool = False


class ToyCache(Part):
    """A kind that the platform has never heard of."""

    kind = "cache_policy"


@register("cache_policy", "forget", version=2)
class Forget(ToyCache):
    """A part of it."""

    class Config(PartConfig):
        """after: has a default; of: has none."""

        after: int = 3
        of: list[str]


def with_toys(registry: Registry) -> Registry:
    return registry.with_parts(Local, Forget)


def write(cwd: Path, text: str, name: str = "toy") -> Path:
    path = cwd / "experiments" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def resolved(cwd: Path, registry: Registry, text: str = PLAIN, *words: str) -> Resolved:
    """The first variant of the experiment `text`, with overrides."""
    write(cwd, text)
    experiment = load_experiment("toy", cwd)
    variants, overrides = split_words(words, experiment)
    return resolve(experiment, variants[0], overrides, with_toys(registry))


def delta(cwd: Path, registry: Registry, text: str = PLAIN, *words: str) -> dict[str, Any]:
    return resolved(cwd, registry, text, *words).delta()
