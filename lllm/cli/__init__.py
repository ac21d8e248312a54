"""The command line. Verbs live one per file; each imports what it needs when it runs, so that --help is instant."""

from lllm.cli.app import main

__all__ = ["main"]
