"""`lllm data`: prepare, list and verify the data that runs read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lllm.cli.options import Experiment, Json, Plugins, Words
from lllm.cli.output import print_json, print_table
from lllm.errors import UserError, nearest

__all__ = ["app"]

_AMOUNTS = ("tokens", "bytes")
_FACTS = ("fingerprint", "documents", "made", "multiple", "counts", "overlap")

app = typer.Typer(
    help="Prepare, list and verify data.", no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False
)


@app.command()
def prepare(experiment: Experiment, words: Words = None, plugin: Plugins = None, as_json: Json = False) -> None:
    """Turn an experiment's corpora into verified shards, now rather than when it runs."""
    from lllm.cli.progress import preparing
    from lllm.config import load_experiment, resolve, split_words
    from lllm.registry import load_registry
    from lllm.train.setup import Setup

    registry = load_registry(plugin or [])
    asked = load_experiment(experiment)
    variants, overrides = split_words(words or [], asked)
    found = {}
    for variant in variants:
        dataset = Setup.prepare(registry, resolve(asked, variant, overrides, registry), preparing()).dataset
        found[dataset.fingerprint] = _fact(dataset.path, dataset.info)
    _print(list(found.values()), as_json)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List prepared data: where, how made, how much."""
    _print([_fact(path, _info(path)) for path in _folders()], as_json)


@app.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="Folders, or beginnings of their names.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare every file with the digest it was written with. Exit code 1 when one is damaged."""
    from lllm.data import Shard

    folders = _chosen(names or [])
    problems: list[dict[str, Any]] = []
    shards = 0
    for path in folders:
        info = _info(path)
        if info is None:
            problems.append(_fact(path, None))
            continue
        for name in [name for split in info["shards"].values() for name in split]:
            shards += 1
            try:
                Shard.open(path / name)
            except UserError as error:
                problems.append({"path": str(path), "problem": str(error).partition(";")[0]})
    if as_json:
        print_json({"datasets": len(folders), "shards": shards, "problems": problems})
    else:
        for problem in problems:
            again = "and run 'lllm data prepare EXPERIMENT', or the experiment, to have it made anew"
            print(f"damaged: {problem['path']}: {problem['problem']}; delete {problem['path']} {again}")
        print(f"{len(folders)} datasets, {shards} shards: {len(problems) or 'no'} problems")
    raise typer.Exit(1 if problems else 0)


def _folders() -> list[Path]:
    """Prepared datasets; what is still being written has a name that begins with a dot."""
    from lllm.data.dataset import data_root

    return sorted(path for path in data_root().glob("[!.]*") if path.is_dir())


def _info(path: Path) -> dict[str, Any] | None:
    """dataset.json, None when it is missing or damaged."""
    from lllm.data.dataset import dataset_info

    try:
        return dataset_info(path)
    except UserError:
        return None


def _chosen(names: list[str]) -> list[Path]:
    folders = _folders()
    if not names:
        return folders
    chosen = []
    for name in names:
        found = [path for path in folders if path.name.startswith(name) or path == Path(name)]
        if not found:
            raise UserError(f"data verify: '{name}': no such prepared data{nearest(name, [p.name for p in folders])}")
        chosen += found
    return chosen


def _fact(path: Path, info: dict[str, Any] | None) -> dict[str, Any]:
    if info is None:
        return {"path": str(path), "problem": "dataset.json is missing or damaged"}
    return {"path": str(path), **{key: info.get(key) for key in _FACTS}}


def _print(facts: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json(facts)
        return
    rows = [row for fact in facts for row in _rows(fact)]
    headers = ["path", "fingerprint", "made from", "split", "documents", "in training", "tokens", "bytes"]
    print_table(headers, rows, right=(4, 5, 6, 7))


def _rows(fact: dict[str, Any]) -> list[list[str]]:
    """A line per split; what they share stands in the first."""
    if "problem" in fact:
        return [[fact["path"], "", fact["problem"], "", "", "", "", ""]]
    shared = [fact["path"], str(fact["fingerprint"])[:8], str(fact["made"])]
    inside = {"valid": str(len(fact["overlap"]))} if fact["overlap"] is not None else {}
    counts = [
        [split, str(count.get("documents", "-")), inside.get(split, ""), *(str(count.get(k, "-")) for k in _AMOUNTS)]
        for split, count in (fact["counts"] or {}).items()
    ]
    return [[*(shared if i == 0 else ["", "", ""]), *cells] for i, cells in enumerate(counts)]
