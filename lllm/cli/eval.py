"""`lllm eval`: score a trained model anew, on its own validation documents or on others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lllm.cli.options import Device, Json, Plugins, Results, RunName
from lllm.cli.output import print_json, print_table
from lllm.errors import UserError

if TYPE_CHECKING:
    from lllm.loaded import Loaded
    from lllm.train.evaluate import Evaluation
    from lllm.train.setup import Setup

__all__ = ["eval_"]

_TURNED = ("corpus", "eval", "data.context")  # what an evaluation may change; everything else is the run's own
_ROUNDING = 1e-6  # relative; what another number of threads or another device may change


def eval_(
    run: RunName,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE...]", help="Other data, as corpus.path=FILE; eval.bytes=1MB."),
    ] = None,
    device: Device = "auto",
    results: Results = Path("results"),
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """Score a run anew; the run itself is left as it is."""
    from lllm import load

    loaded = load(run, device, results=results, plugins=plugin or [])
    setup = _setup(loaded, words or [])
    evaluation = _evaluated(loaded, setup)
    found = {
        "run": loaded.run.name,
        "step": loaded.step,
        "device": str(loaded.device),
        "data": setup.dataset.info["made"],
        **evaluation.result(),
        "recorded": None if words else _compared(loaded, setup, evaluation),
    }
    if as_json:
        print_json(found)
    else:
        _print(found)


def _setup(loaded: Loaded, words: list[str]) -> Setup:
    """The run's own data, or with `words` other ones for the same tokenizer."""
    from lllm.cli.progress import preparing
    from lllm.config import overrides_of
    from lllm.loaded import restored
    from lllm.train.setup import Setup

    for word in words:
        key = word.partition("=")[0].strip()
        if "=" in word and not any(key == turned or key.startswith(f"{turned}.") for turned in _TURNED):
            raise UserError(f"eval: {word}: expected what an evaluation may change: {', '.join(_TURNED)}")
    overrides = overrides_of(words)
    _, resolved = restored(loaded.run, registry=loaded.registry, overrides=overrides)
    return Setup.prepare(loaded.registry, resolved, preparing())


def _evaluated(loaded: Loaded, setup: Setup) -> Evaluation:
    """With the run's own number of threads, because sums depend on it, and a bar."""
    import torch

    from lllm.cli.progress import progress

    if loaded.resolved.run.threads is not None:
        torch.set_num_threads(loaded.resolved.run.threads)
    total = sum(len(batch) for batch in setup.valid())
    seen = 0
    with progress("evaluating", total, "rows") as done:

        def advance(rows: int) -> None:
            nonlocal seen
            seen += rows
            done(seen)

        return loaded.evaluate(setup, advance)


def _compared(loaded: Loaded, setup: Setup, evaluation: Evaluation) -> dict[str, Any] | None:
    """How it compares with what the run recorded, by bpb, or by the metrics where there is no likelihood; None when it
    is not finished."""
    result = loaded.run.result
    if result is None:
        return None
    bpb, recorded = evaluation.bpb(), result.get("bpb")
    difference = None if bpb is None or recorded is None else bpb - recorded
    found = result.get("metrics") or {}
    metrics = {
        name: value - found[name]
        for name, value in evaluation.metrics.items()
        if value is not None and found.get(name) is not None
    }
    compared: list[tuple[float, float]] = [(gap, found[name]) for name, gap in metrics.items()]
    if difference is not None:
        compared = [(difference, result["bpb"])]
    data = (loaded.info.get("fingerprints") or {}).get("data")
    return {
        "bpb": recorded,
        "difference": difference,
        **({"metrics": metrics} if metrics else {}),
        "agrees": all(abs(gap) <= _ROUNDING * abs(value) for gap, value in compared) if compared else None,
        "same_data": data == setup.dataset.fingerprint,
    }


def _print(found: Mapping[str, Any]) -> None:
    print(f"{found['run']}, after {found['step']} steps, on {found['data']}")
    rows = [
        [f"bpb ({found['kind']}, {found['likelihood']})", _number(found["bpb"])],
        ["bpb without EOS", _number(found["bpb_text"])],
        ["nats/byte", _number(found["nats_per_byte"])],
        *([name, _number(value)] for name, value in found["metrics"].items()),
        ["documents", str(found["documents"])],
        ["bytes", str(found["evaluated_bytes"])],
    ]
    rows += [
        [f"bpb ({other['kind']}, {name})", _number(other["bpb"])]
        for name, other in found["likelihoods"].items()
        if not other["primary"]
    ]
    print_table(["", "value"], rows, right=(1,))
    if found["slots"]:
        print("\nnats per token, by slot of the chunk")
        print_table(["slot", "nats"], [[str(i), f"{n:.4f}"] for i, n in enumerate(found["slots"])], right=(0, 1))
    if found["positions"]:
        print("\nnats per token, by place in the document")
        places = [(int(first), f"{nats:.4f}") for first, nats in found["positions"].items()]  # first to 2 * first
        cells = [[f"{first} to {2 * first}" if first else "0", nats] for first, nats in places]
        print_table(["tokens", "nats"], cells, right=(1,))
    _print_agreement(found["recorded"])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6f}"


def _print_agreement(recorded: Mapping[str, Any] | None) -> None:
    if recorded is None:
        return
    print()
    if not recorded["same_data"]:
        print("the data are not those that the run was scored on")
    difference, metrics = recorded["difference"], recorded.get("metrics") or {}
    apart = {name: gap for name, gap in metrics.items() if gap}
    if recorded["agrees"] is None:
        print("nothing in result.json to compare with: no likelihood, and no metrics")
    elif not difference and not apart:
        print("agrees with result.json exactly")
    elif difference is None:
        how = "agrees with result.json within rounding" if recorded["agrees"] else "differs from result.json"
        print(f"{how}: {', '.join(f'{name} {gap:+.2e}' for name, gap in apart.items())}")
    elif recorded["agrees"]:
        print(f"agrees with result.json within rounding: {difference:+.2e} bpb (threads or device differ)")
    else:
        print(f"differs from result.json, which says {recorded['bpb']:.6f}: {difference:+.6f} bpb")
