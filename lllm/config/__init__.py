"""Experiments as files: strict, typed, layered, and resolved before any work begins.

`load_experiment` reads the question, `split_words` the command line, `resolve` decides every setting of a variant.
"""

from lllm.config.experiment import Experiment, list_experiments, load_experiment
from lllm.config.overrides import overrides_of, split_words
from lllm.config.resolve import Resolved, resolve, restore
from lllm.config.schema import Eval, Match
from lllm.config.tree import Tree

__all__ = [
    "Eval",
    "Experiment",
    "Match",
    "Resolved",
    "Tree",
    "list_experiments",
    "load_experiment",
    "overrides_of",
    "resolve",
    "restore",
    "split_words",
]
