"""Processes of a pool, without any training."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psutil
import pytest
import torch

from lllm.errors import UserError
from lllm.launch.plan import Plan
from lllm.launch.pool import News, Pool
from lllm.launch.workers import devices
from lllm.results.ownership import Owned, own
from lllm.results.run import Run
from tests.launch.helpers import Place
from tests.search.helpers import stand_in
from tests.search.standin import RECORDS


def news_until_ended(pool: Pool) -> Iterator[News]:
    """What it says until nothing runs; a minute is far more than it takes."""
    end = time.monotonic() + 60
    while pool.running:
        assert time.monotonic() < end
        yield from pool.poll()
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        (None, ["0,1", "2,0", "1,2"]),
        ("4,6,7", ["4,6", "7,4", "6,7"]),
        ("GPU-a,GPU-b,GPU-c", ["GPU-a,GPU-b", "GPU-c,GPU-a"]),
    ],
)
def test_gpus_are_those_that_this_process_may_see(
    monkeypatch: pytest.MonkeyPatch, allowed: str | None, expected: list[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if allowed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    found = [devices(slot, 2)["CUDA_VISIBLE_DEVICES"] for slot in range(len(expected))]
    assert found == expected


def three(place: Place) -> Plan:
    return place.plan(seeds=(0, 1, 2))


def test_runs_have_slots_of_their_own_and_every_record_is_heard(place: Place) -> None:
    plan = three(place)
    heard: dict[str, int] = {}
    with Pool(plan, 2, stand_in) as pool:
        started = [pool.start(run) for run in plan.runs[:2]]
        assert [worker.slot for worker in started if worker] == [0, 1]
        assert pool.free == 0
        first, slots = True, []
        for news in news_until_ended(pool):
            name = news.worker.run.name
            heard[name] = heard.get(name, 0) + len(news.records)
            if news.ended:
                assert news.ended == ("finished", "")
                assert news.worker not in pool.running
                if first:
                    first = False
                    slots.append(news.worker.slot)
                    worker = pool.start(plan.runs[2])
                    assert worker is not None
                    assert worker.slot == slots[0]  # the one that is free
    assert heard == {f"base/s{seed}": RECORDS for seed in range(3)}
    assert all(Run(run.path).info["config"]["execution"]["shared_timing"] is True for run in plan.runs)


def test_leaving_it_leaves_no_process(place: Place) -> None:
    (place.path / "pace").write_text("30")
    plan = three(place)
    with Pool(plan, 3, stand_in) as pool:
        pids = [worker.process.pid for run in plan.runs if (worker := pool.start(run)) is not None]
        assert all(map(psutil.pid_exists, pids))
    assert len(pids) == 3
    assert not any(map(psutil.pid_exists, pids))


def test_what_is_finished_or_owned_is_not_started(place: Place) -> None:
    plan = three(place)
    with Pool(plan, 1, stand_in) as pool:
        pool.start(plan.runs[0])
        list(news_until_ended(pool))
        assert pool.start(plan.runs[0]) is None
        with own(plan.runs[1].path):
            (plan.runs[1].path / "run.json").write_text("{}")
            with pytest.raises(Owned):
                pool.start(plan.runs[1])
        assert pool.free == 1


def test_a_killed_process_is_told_from_a_stopped_and_a_failed_one(place: Place) -> None:
    (place.path / "pace").write_text("30")
    plan = three(place)
    with Pool(plan, 2, stand_in) as pool:
        killed, stopped = pool.start(plan.runs[0]), pool.start(plan.runs[1])
        assert killed is not None
        assert stopped is not None
        killed.process.kill()
        stopped.stop()
        ends = {news.worker: news.ended for news in news_until_ended(pool)}
    assert killed.lost
    assert not stopped.lost
    assert ends[stopped] == ("interrupted", "")
    assert ends[killed] is not None
    assert ends[killed][0] == "failed"


def test_a_process_that_says_what_is_wrong_is_not_lost(place: Place) -> None:
    """Exit code 2 is that of bad input: the same command would say the same again."""
    plan = three(place)
    with Pool(plan, 1, lambda run: ["sh", "-c", "echo 'error: the corpus is gone' >&2; exit 2"]) as pool:
        worker = pool.start(plan.runs[0])
        assert worker is not None
        (news,) = news_until_ended(pool)
    assert not worker.lost
    assert news.ended is not None
    assert news.ended[1].startswith("the corpus is gone (")


def test_a_command_that_cannot_be_made_starts_nothing(place: Place) -> None:
    def refused(run: object) -> list[str]:
        raise UserError("no such machine")

    with Pool(three(place), 1, refused) as pool:
        with pytest.raises(UserError, match="no such machine"):
            pool.start(three(place).runs[0])
        assert pool.free == 1
