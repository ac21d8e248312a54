"""A study on disk as a trainer and a sweep would leave it, with numbers that a formula gives."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lllm.report.gather import Composition, Report, gather
from lllm.report.page import Page, page
from lllm.results.committed import load_records, write_committed
from lllm.results.compare import tabulate
from lllm.results.files import Metrics, write_json
from lllm.results.grouping import Expected
from lllm.results.rule import Rule
from lllm.results.run import create, run_path
from tests.results.conftest import PROBED, arm, info, result

HYPOTHESIS = "A local head pays less of the chunk's total correlation than independent ones, at equal bytes."
STEPS = 400
PROMPTS = ("", "Two households, both alike in dignity, ")


def write_run(
    root: Path,
    variant: str,
    seed: int,
    bpb: float,
    *,
    experiment: str = "study",
    identity: str | None = None,
    slots: Sequence[float] = (1.6, 1.9, 2.1, 2.2),
    text: str = "In fair Verona, where we lay our scene,\nFrom ancient grudge break to new mutiny.",
    lr: float = 0.002,
    results: dict[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """A finished run: metrics, result and samples."""
    identity = identity or arm(variant)
    path = run_path(root, experiment, variant, identity, seed)
    told = info(variant, identity, seed, experiment=experiment, **{"steps": STEPS, **changes})
    config = told["config"]["semantic"]
    told["config"] = {"semantic": {**config, "train": {**config["train"], "lr": lr}}, "execution": {}}
    told |= {"argv": ["run", experiment, "--seeds", "3"], "git": {"commit": "0123abcd" * 5, "changed": False}}
    create(path, told)
    _metrics(path, bpb, seed)
    cost = 1 + 0.4 * (len(variant) % 5)
    numbers = {
        "slots": [value + 0.01 * seed for value in slots],
        "positions": {str(2**i - 1): 1.5 + 2 / (i + 1) + 0.01 * seed for i in range(10)},
        "train_flops_per_byte": 1e6 * cost,
        "train_flops": 1e12 * cost,
        "train_bytes": 1_000_000,
        "seconds": 20.0 * cost + seed,
        "generation_bytes_per_second": 2000 / cost,
        "steps": STEPS,
    }
    write_json(path / "probe.json", PROBED)
    write_json(path / "result.json", {**result(bpb), **numbers, **(results or {})})
    lines = [json.dumps({"prompt": prompt, "text": text}) for prompt in PROMPTS]
    (path / "samples.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _metrics(path: Path, bpb: float, seed: int) -> None:
    with Metrics(path / "metrics.jsonl") as lines:
        for step in range(10, STEPS + 1, 10):
            loss = bpb * math.log(2) * (1 + 3 * math.exp(-step / 60)) + 0.02 * math.sin(step + seed)
            spent = {"tokens": step * 2500, "bytes": step * 2500, "flops": step * 2.5e9, "seconds": step / 20}
            lines.append({"step": step, **spent, "loss": loss, "lr": 0.002})
            if step % 50 == 0:
                lines.append({"step": step, "bpb": bpb * (1 + 2 * math.exp(-step / 60))})


def unfinished(root: Path, variant: str, seed: int, status: dict[str, Any] | None, experiment: str = "study") -> None:
    """A run that was begun: failed or running as its status says, empty without one."""
    identity = arm(variant)
    path = run_path(root, experiment, variant, identity, seed)
    create(path, info(variant, identity, seed, experiment=experiment))
    if status is not None:
        write_json(path / "status.json", status)


def trials(root: Path, variants: Sequence[str], rates: Sequence[float], experiment: str = "study") -> None:
    """A sweep of the learning rate, with an optimum at 0.004."""
    for place, variant in enumerate(variants):
        for number, lr in enumerate(rates):
            bpb = 2.4 + 0.1 * place + 0.08 * math.log2(lr / 0.004) ** 2
            trial = {"study": f"{experiment}/{variant}/tune", "number": number}
            write_run(
                root, variant, 1000, bpb, experiment=experiment, identity=arm(f"{variant}{lr}"), lr=lr, trial=trial
            )


def searched(root: Path, count: int, experiment: str = "study") -> None:
    """A search over compositions: its trials live in the directory of the variant that they set out from."""
    for number in range(count):
        cost = 1 + number % 7
        numbers = {"train_flops_per_byte": 1e6 * cost, "generation_bytes_per_second": 500.0 * (1 + number % 5)}
        trial = {"study": f"{experiment}/search", "number": number}
        bpb = 2.2 + 1 / cost + 0.03 * (number % 5)
        write_run(
            root,
            "flat",
            1000,
            bpb,
            experiment=experiment,
            identity=arm(f"search{number}"),
            lr=0.001 * cost,
            trial=trial,
            results=numbers,
        )


def noise(root: Path, variant: str = "flat", seeds: int = 8, experiment: str = "study", **other: str) -> None:
    """What `lllm noise` leaves. other: what it is of, where that is not the variant as it is trained."""
    told = info(variant, arm(variant), 0)
    values = [2.5 + 0.006 * math.sin(3 * seed) for seed in range(seeds)]
    kept = {name: told["fingerprints"][name] for name in ("code", "data", "evaluator")}
    measured = {"metric": "bpb", "arm": arm(variant), **kept, **other, "seeds": list(range(seeds)), "values": values}
    write_json(
        root / experiment / "noise.json", [{**measured, "mean": 2.5, "sd": 0.0045, "low": 0.003, "high": 0.0091}]
    )


def full_study(root: Path, seeds: int = 3) -> None:
    """Four variants, better, worse and alike; a run that failed, one that was only begun; a sweep, a search, noise."""
    for variant, bpb in (("flat", 2.5), ("local", 2.44), ("parallel_head", 2.62), ("twin", 2.501)):
        for seed in range(seeds):
            write_run(root, variant, seed, bpb + 0.006 * math.sin(7 * seed + len(variant)))
    unfinished(root, "twin", seeds, {"state": "failed", "reason": "loss is NaN at step 12"})
    unfinished(root, "local", seeds, None)
    trials(root, ["flat", "local"], [0.001, 0.002, 0.004, 0.008, 0.016])
    searched(root, 20)
    noise(root)


def expected(*variants: str, seeds: Sequence[int] = (), rule: Rule | None = None) -> list[Expected]:
    """The first is the baseline."""
    return [
        Expected(variant, arm(variant), baseline=place == 0, rule=rule or Rule(), seeds=tuple(seeds))
        for place, variant in enumerate(variants)
    ]


FULL = ("flat", "local", "parallel_head", "twin")


def compositions(*variants: str) -> list[Composition]:
    """Small trees."""
    nodes = [
        {"path": "", "name": "model", "depth": 0, "rate": 1.0, "parameters": 493056, "flops_per_token": 1.2e6},
        {"path": "trunk", "name": "stack", "depth": 1, "rate": 0.25, "parameters": 400000, "flops_per_token": 9e5},
    ]
    wide = [{**node, "parameters": int(node["parameters"]) * 2} for node in nodes]
    return [
        Composition(variant, tuple(wide if place else nodes), {"model.ratio": 4, "train.lr": None}, "width = 96")
        for place, variant in enumerate(variants)
    ]


def gathered(root: Path, rows: Sequence[Expected], hypothesis: str = HYPOTHESIS, experiment: str = "study") -> Report:
    """The report of what is below `root`."""
    records = load_records(root, experiment)
    comparison = tabulate(records, experiment, rows)
    trees = compositions(*(row.variant for row in rows))
    return gather(root, hypothesis, comparison, records, compositions=trees)


def written(
    root: Path, rows: Sequence[Expected], hypothesis: str = HYPOTHESIS, experiment: str = "study"
) -> tuple[Path, Page]:
    """Its page, on disk."""
    made = page(gathered(root, rows, hypothesis, experiment))
    path = root / "page.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(made.text, encoding="utf-8")
    return path, made


def committed_only(root: Path, away: Path) -> None:
    """What a clone has: runs.jsonl without run directories."""
    write_committed(root, "study", load_records(root, "study"))
    (away / "study").mkdir(parents=True)
    (root / "study" / "runs.jsonl").rename(away / "study" / "runs.jsonl")
