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
    """Variants (all of the experiment's when none is named, in its order) and the layer of overrides.

    Raises:
        UserError: an unknown variant or key, one given twice, a value that is not YAML.
    """
    variants: list[str] = []
    layer = Tree()
    for word in words:
        refuse_illegible(word, _WHERE)
        key, equals, text = word.partition("=")
        if equals:
            _override(layer, key.strip(), text)
            continue
        if word not in experiment.variants:
            raise UserError(
                f"{_WHERE}: experiment '{experiment.name}' has no variant '{word}'{nearest(word, experiment.variants)}"
            )
        if word in variants:
            raise UserError(f"{_WHERE}: variant '{word}' is given twice; expected it once")
        variants.append(word)
    return tuple(variants or experiment.variants), at_home(layer)


def overrides_of(words: Sequence[str]) -> Tree:
    """The layer of overrides of words that are nothing else.

    Raises:
        UserError: a word without '=', an unknown key, one given twice, a value that is not YAML.
    """
    layer = Tree()
    for word in words:
        refuse_illegible(word, _WHERE)
        key, equals, text = word.partition("=")
        if not equals:
            raise UserError(f"{_WHERE}: '{word}': expected KEY=VALUE, as in corpus.path=FILE")
        _override(layer, key.strip(), text)
    return at_home(layer)


def _override(layer: Tree, key: str, text: str) -> None:
    top = key.split(".")[0]
    if top in PLAN:
        raise UserError(f"{_WHERE}: {key}={text}: '{top}' stands in the experiment's file; expected a setting of a run")
    if top not in (*TOP, *Run.model_fields):
        raise UserError(f"{_WHERE}: {key}={text}: unknown key '{key}'{hint(key)}")
    if not text.strip():
        raise UserError(f"{_WHERE}: {key}=: no value; expected {key}=VALUE, or {key}=null for none")
    layer.put(key, parse_value(text, f"{_WHERE}: {key}={text}"), _WHERE)
