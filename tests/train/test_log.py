"""A window's record is exact means of its steps, whether or not it was saved in between."""

from __future__ import annotations

import json

from lllm.train.gradients import StepTotals
from lllm.train.log import Window


def totals(nats: float, weight: float, aux: float) -> StepTotals:
    return StepTotals(nats, weight, int(weight), int(weight) - 1, aux={"balance": aux}, metrics={"rate": aux / 2})


def filled(window: Window) -> Window:
    window.add(totals(20.0, 10.0, 0.5), norm=1.0, clipped=True, lr=0.1, flops=7.0, metrics={})
    window.add(totals(10.0, 30.0, 1.5), norm=3.0, clipped=False, lr=0.2, flops=7.0, metrics={"merges": 4.0})
    return window


def test_a_record_weighs_tokens_not_steps() -> None:
    record = filled(Window()).flush()
    assert record["loss"] == 30 / 40  # not the mean of 2 and 1/3
    assert (record["tokens"], record["bytes"], record["flops"]) == (40, 38, 14.0)
    assert (record["grad_norm"], record["clip_share"], record["lr"]) == (2.0, 0.5, 0.2)
    assert (record["aux.balance"], record["metric.rate"]) == (1.0, 0.5)
    assert record["metric.merges"] == 4.0  # of the steps that give it


def test_a_window_begins_anew_and_the_run_goes_on() -> None:
    window = filled(Window())
    window.flush()
    window.add(totals(6.0, 3.0, 0.0), norm=1.0, clipped=False, lr=0.3, flops=7.0, metrics={})
    record = window.flush()
    assert record["loss"] == 2.0
    assert (record["tokens"], record["flops"]) == (43, 21.0)
    assert "metric.merges" not in record


def test_a_saved_window_is_the_same_window() -> None:
    whole = filled(filled(Window())).flush()
    half = Window.of(json.loads(json.dumps(filled(Window()).state())))
    resumed = filled(half).flush()
    assert {k: v for k, v in resumed.items() if k != "bytes_per_second"} == {
        k: v for k, v in whole.items() if k != "bytes_per_second"
    }


def test_speed_is_that_of_this_process() -> None:
    """Bytes that another process trained count in the run and not in its speed."""
    window = Window.of({**filled(Window()).state(), "bytes_seen": 10**12})
    window.add(totals(6.0, 3.0, 0.0), norm=1.0, clipped=False, lr=0.3, flops=7.0, metrics={})
    record = window.flush()
    assert record["bytes"] == 10**12 + 2
    assert record["bytes_per_second"] < 10**9
