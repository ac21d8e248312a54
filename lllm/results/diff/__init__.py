"""What sets two runs, a run and its experiment's file, or two experiments apart."""

from lllm.results.diff.experiments import Defined, ExperimentDifference, diff_experiments
from lllm.results.diff.outcomes import Curves, Documented
from lllm.results.diff.runs import Difference, Drifted, Side, diff, diff_now, inner

__all__ = [
    "Curves",
    "Defined",
    "Difference",
    "Documented",
    "Drifted",
    "ExperimentDifference",
    "Side",
    "diff",
    "diff_experiments",
    "diff_now",
    "inner",
]
