"""lllm: the bench on which an idea for a latent language model becomes a number that can be believed.

In Python: `lllm.load(run)` gives a trained model, `lllm.runs()` the runs as a table. Importing lllm imports nothing
heavy.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lllm.loaded import Loaded

__all__ = ["load", "runs"]
__version__ = "0.1.0"


def load(
    run: str | Path, device: str = "cpu", *, results: str | Path = "results", plugins: Sequence[str | Path] = ()
) -> Loaded:
    """The model of a run, with what it was trained on.

    run: a run directory, or any unambiguous part of the name of a run below `results`. device: auto, cpu, cuda, cuda:N.
    plugins: Python files with parts, beside those that the run recorded.

    Raises:
        UserError: no run or several are meant; there is no whole checkpoint; a part that it needs is not there.
    """
    from lllm.loaded import load as loaded

    return loaded(run, device, results=Path(results), plugins=plugins)


def runs(root: str | Path = "results", experiment: str | None = None) -> list[dict[str, Any]]:
    """Every run below `root` as one flat mapping; `pandas.DataFrame(lllm.runs())` is a table of them."""
    from lllm.results.committed import runs as every

    return every(root, experiment)
