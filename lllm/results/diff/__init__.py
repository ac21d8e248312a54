"""What sets two runs, a run and its experiment's file, or two experiments apart."""

from lllm.results.diff.code import Drifted
from lllm.results.diff.curves import Curves
from lllm.results.diff.documents import Documented
from lllm.results.diff.experiments import Defined, ExperimentDifference, diff_experiments
from lllm.results.diff.runs import Difference, diff, diff_now
from lllm.results.diff.side import Side

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
]
