"""`lllm bench`: what variants cost on this machine, measured in turn so that its moods fall on all of them alike."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lllm.cli.options import Experiment, Json, Plugins, Words
from lllm.cli.output import print_json, print_table
from lllm.errors import UserError

__all__ = ["bench"]


def bench(
    experiment: Experiment,
    words: Words = None,
    rounds: Annotated[int, typer.Option(help="Rounds over all variants; medians are taken over them.")] = 5,
    steps: Annotated[int, typer.Option(help="Training steps of a variant in each round.")] = 3,
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """Measure training and generation of an experiment's variants side by side. Nothing is trained or written."""
    for name, value in (("--rounds", rounds), ("--steps", steps)):
        if value < 1:
            raise UserError(f"{name} {value}: expected 1 or more")
    from lllm.cli.progress import progress
    from lllm.cli.run import arms_of
    from lllm.launch.measure import Bench
    from lllm.registry.build import blaming
    from lllm.results.table import si

    arms, variants = arms_of(experiment, words or [], plugin or [], measure=False)
    with blaming(arms.registry):
        benches = [Bench(arms.arm(variant)) for variant in variants]
    with progress("measuring", len(benches) * (rounds + 1), "turns") as done:
        for turn in range(rounds + 1):
            for place, bench in enumerate(benches, start=1):
                if turn == 0:
                    bench.warm()
                else:
                    bench.round(steps)
                done(turn * len(benches) + place)
    found: list[dict[str, Any]] = [
        {"variant": bench.arm.variant, "arm": bench.arm.identity, "parameters": bench.arm.parameters, **bench.numbers()}
        for bench in benches
    ]
    if as_json:
        print_json(found)
        return
    headers = ["variant", "parameters", "ms/step", "tokens/s", "bytes/s", "GFLOP/s", "peak memory", "gen. bytes/s"]
    rows = [
        [
            row["variant"],
            si(row["parameters"]),
            f"{1000 * row['step_seconds']:.1f}",
            si(row["tokens_per_second"]),
            si(row["bytes_per_second"]),
            f"{row['flops_per_second'] / 1e9:.1f}",
            f"{si(row['peak_bytes'])}B",
            si(row["generation_bytes_per_second"]),
        ]
        for row in found
    ]
    print_table(headers, rows, right=range(1, 8))
    print("peak memory: of the tensors of one training step; generation: one text at a time, from nothing")
