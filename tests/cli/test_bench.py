"""`lllm bench` and what it measures with."""

from __future__ import annotations

import json

import pytest
import torch

from lllm.launch.measure import peak_bytes
from tests.cli.conftest import Verb

pytestmark = pytest.mark.usefixtures("inside")


def test_variants_are_measured_side_by_side(verb: Verb) -> None:
    done = verb("bench", "tiny", "--rounds", "1", "--steps", "1", "--json")
    assert done.code == 0
    flat, four = json.loads(done.out)
    assert (flat["variant"], four["variant"]) == ("flat", "four")
    for row in (flat, four):
        assert row["tokens_per_second"] == pytest.approx(4 * 32 / row["step_seconds"])
        assert row["generation_bytes_per_second"] > 0
        assert row["peak_bytes"] > 4 * row["parameters"] * 2  # weights and gradients at least
    assert flat["flops_per_second"] * flat["step_seconds"] > four["flops_per_second"] * four["step_seconds"]


def test_the_table_has_a_line_per_variant(verb: Verb) -> None:
    lines = verb("bench", "tiny", "four", "--rounds", "1", "--steps", "1").out.splitlines()
    assert lines[0].split()[:3] == ["variant", "parameters", "ms/step"]
    assert lines[1].startswith("four")


def test_peak_bytes_counts_what_is_alive_at_once() -> None:
    x = torch.zeros(1000)

    def work() -> None:
        for _ in range(5):
            y = x + 1  # one at a time, but for the moment at which the next one is made
            del y
        a, b = x + 1, x + 2
        (a * b).sum()

    # x, a, b and their product are alive together, beside the scalar of the sum
    assert 4 * 4000 <= peak_bytes(work) <= 4 * 4000 + 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tinny"], "unknown experiment 'tinny'"),
        (["tiny", "five"], "no variant 'five'"),
        (["tiny", "--rounds", "0"], "--rounds 0: expected 1 or more"),
        (["tiny", "--steps", "-1"], "--steps -1: expected 1 or more"),
        (["tiny", "model.width=0"], "model.width = 0"),
        (["tiny", "--plugin", "absent.py"], "no such file"),
    ],
)
def test_bad_input(verb: Verb, arguments: list[str], message: str) -> None:
    done = verb("bench", *arguments)
    assert done.code == 2
    assert message in done.err
    assert done.out == ""
