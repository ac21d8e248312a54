"""`lllm list runs`: every run below the results directory."""

from __future__ import annotations

import sys
from pathlib import Path

from lllm.cli.output import print_json, print_table

__all__ = ["list_runs"]

_LONG = 200  # rows beyond which a drawn table is slow to make and no easier to read


def list_runs(as_json: bool = False, root: Path = Path("results")) -> None:
    """Print the runs below `root`, and those that are only committed there."""
    from lllm.results.committed import load_records, runs
    from lllm.results.table import aligned

    if as_json:
        print_json(runs(root))
        return
    records = load_records(root)
    if not records:
        print(f"no runs below {root}; `lllm run quickstart` makes some", file=sys.stderr)
        return
    headers = ["run", "state", "bpb", "named", "why"]
    rows = []
    for record in records:
        bpb = (record.result or {}).get("bpb")
        state = record.state if record.path or record.state == "deleted" else f"{record.state}, committed"
        reason = record.reason if record.state in ("failed", "diverged", "pruned", "damaged") or record.aside else ""
        rows.append([record.name, state, "" if bpb is None else f"{bpb:.4f}", record.label, reason])
    if len(rows) > _LONG:
        print(aligned(headers, rows, right=(2,)))
    else:
        print_table(headers, rows, right=(2,))
