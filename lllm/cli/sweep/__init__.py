"""`lllm sweep`."""

from lllm.cli.sweep.command import sweep

__all__ = ["sweep"]
