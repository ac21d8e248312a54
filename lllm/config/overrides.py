"""The words after an experiment's name on the command line: variants, and `key=value` overrides."""

from __future__ import annotations

from collections.abc import Sequence

from lllm.config.experiment import PLAN, Experiment
from lllm.config.schema import Run
from lllm.config.sections import TOP, at_home, hint
from lllm.config.tree import Tree
from lllm.config.yaml import parse_value, refuse_illegible
from lllm.errors import UserError, nearest

__all__ = ["overrides_of", "split_words"]

_WHERE = "command line"


def split_words(words: Sequence[str], experiment: Experiment) -> tuple[tuple[str, ...], Tree]:
    """Variants (all of the experiment's when none is named, in its order) and the layer of overrides. Raises
    UserError for an unknown variant or one given twice, and as `overrides_of` does."""
    variants = [word for word in words if "=" not in word]
    for word in variants:
        refuse_illegible(word, _WHERE)
        if word not in experiment.variants:
            raise UserError(
                f"{_WHERE}: experiment '{experiment.name}' has no variant '{word}'{nearest(word, experiment.variants)}"
            )
        if variants.count(word) > 1:
            raise UserError(f"{_WHERE}: variant '{word}' is given twice; expected it once")
    return tuple(variants or experiment.variants), overrides_of([word for word in words if "=" in word])


def overrides_of(words: Sequence[str]) -> Tree:
    """The layer of overrides of words that are nothing else. Raises UserError for a word without '=', an unknown key,
    one given twice, and a value that is not YAML."""
    layer = Tree()
    for word in words:
        refuse_illegible(word, _WHERE)
        key, equals, text = word.partition("=")
        if not equals:
            raise UserError(f"{_WHERE}: '{word}': expected KEY=VALUE, as in corpus.path=FILE")
        key = key.strip()
        top = key.split(".")[0]
        if top in PLAN:
            raise UserError(
                f"{_WHERE}: {key}={text}: '{top}' stands in the experiment's file; expected a setting of a run"
            )
        if top not in (*TOP, *Run.model_fields):
            raise UserError(f"{_WHERE}: {key}={text}: unknown key '{key}'{hint(key)}")
        if not text.strip():
            raise UserError(f"{_WHERE}: {key}=: no value; expected {key}=VALUE, or {key}=null for none")
        layer.put(key, parse_value(text, f"{_WHERE}: {key}={text}"), _WHERE)
    return at_home(layer)
