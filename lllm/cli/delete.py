"""`lllm delete`: a run goes, and every table knows that it was begun."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from lllm.cli.options import Results, RunName
from lllm.errors import UserError

__all__ = ["delete"]


def delete(
    run: RunName,
    yes: Annotated[bool, typer.Option("--yes", help="Without asking.")] = False,
    results: Results = Path("results"),
) -> None:
    """Delete a run: its directory, and its committed line wherever runs.jsonl is read or written here.

    Its line in the ledger stays: tables say that it was deleted, and its arm has no verdict until that seed is trained
    again.
    """
    from lllm.results.find import find_record
    from lllm.results.ledger import strike
    from lllm.results.ownership import Owned, own

    place = Path(run).absolute()
    if (place / "run.json").is_file():  # wherever that is
        results, run = place.parents[3], "/".join(place.parts[-4:])
    record = find_record(results, run)
    if record.state == "deleted":
        raise UserError(f"run '{run}': {record.name} is deleted already; expected one that is there")
    bpb = (record.result or {}).get("bpb")
    print(f"{record.name}: {record.state}{'' if bpb is None else f', bpb {bpb:.4f}'}")
    if record.path is not None:
        files = [path for path in record.path.rglob("*") if path.is_file()]
        print(f"goes: {record.path} ({len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB)")
    if not record.aside:
        print(
            f"stays: its line in the ledger; tables of {record.experiment} will say that seed {record.seed} is deleted"
        )
    if not yes and not (sys.stdin.isatty() and typer.confirm("delete it?")):
        raise UserError(f"delete {run}: not confirmed, nothing is deleted; expected --yes")
    if not record.aside:  # what made room for another run is trained by nobody, and was no evidence
        if record.path is not None:
            try:
                with own(record.path):
                    pass
            except Owned as owned:
                raise UserError(str(owned)) from None
        strike(results, record)
    if record.path is not None:
        gone = record.path.rename(record.path.with_name(f".{record.path.name}.deleted"))  # no half of a run is found
        shutil.rmtree(gone)
    print("deleted")
