"""What sets two runs apart."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lllm.errors import UserError
from lllm.results.diff import diff
from lllm.results.documents import Documents, write_documents
from lllm.results.files import Metrics
from tests.results.conftest import CONFIG, FINGERPRINTS, PARTS, MakeRun, arm, documents


def test_equal_runs_differ_in_nothing(make_run: MakeRun) -> None:
    a, b = make_run("flat", 0), make_run("flat", 0, place="s0.again")
    found = diff(a, b, docs=True, curves=True)
    assert found.sections == {}
    assert found.documents is not None
    assert (found.documents.better, found.documents.worse, found.documents.total) == (0, 0, 0.0)
    assert found.curves is not None
    assert found.curves.step is None
    json.dumps(asdict(found))


def test_every_section(make_run: MakeRun) -> None:
    config = {**CONFIG, "train": {"lr": 0.001, "batch": 16, "warmup": 5}}
    parts = {"head/first": {**PARTS["head/first"], "digest": "zz"}, "trunk/stack": {"path": "/else", **_without_path()}}
    a = make_run("flat", 0, 2.5)
    b = make_run(
        "flat",
        0,
        2.25,
        identity=arm("other"),
        config={"semantic": config, "execution": {"device": "cuda", "workers": 1}},
        parts=parts,
        fingerprints={**FINGERPRINTS, "data": "f" * 32},
        environment={"python": "3.12.1", "torch": "2.13.1"},
        git="def",
    )
    found = diff(a, b).sections
    assert found["config"] == [{"path": "train.lr", "a": 0.002, "b": 0.001}, {"path": "train.warmup", "b": 5}]
    assert found["parts"] == [{"path": "head/first.digest", "a": "aa", "b": "zz"}]
    assert {entry["path"] for entry in found["fingerprints"]} == {"arm", "data"}
    assert found["execution"] == [{"path": "device", "a": "cpu", "b": "cuda"}]
    assert found["environment"] == [{"path": "torch", "a": "2.13.0", "b": "2.13.1"}]
    assert {entry["path"] for entry in found["run"]} == {"arm", "git"}
    assert found["result"] == [{"path": "bpb", "a": 2.5, "b": 2.25}]


def _without_path() -> dict[str, Any]:
    return {key: value for key, value in PARTS["trunk/stack"].items() if key != "path"}


def test_documents_are_paired_by_their_hash(make_run: MakeRun) -> None:
    a, b = make_run("flat", 0), make_run("small", 0)
    texts = tuple("abcdefghijklmn")
    first = documents(1.0, texts)
    order = np.array([3, 1, 2, 0, *range(4, 14)])
    gap = np.zeros(14)
    gap[[1, 2, 3]] = [0.5, -2.0, -0.25]
    second = Documents(
        first.hash[order][:-1], first.bytes[order][:-1], {"exact": (first.nats["exact"] + gap)[order][:-1]}
    )
    write_documents(a.path / "documents.npz", first)
    write_documents(b.path / "documents.npz", second)
    found = diff(a, b, docs=True).documents
    assert found is not None
    assert (found.shared, found.only_a, found.only_b) == (13, 1, 0)
    assert (found.better, found.worse, found.total) == (2, 1, pytest.approx(-1.75))
    assert len(found.largest) == 10
    assert [entry["difference"] for entry in found.largest[:4]] == [-2.0, 0.5, -0.25, 0.0]
    assert found.largest[0]["hash"] == bytes(first.hash[2]).hex()
    assert found.largest[0]["a"] == first.nats["exact"][2]


def test_a_document_that_is_there_twice_is_paired_twice(make_run: MakeRun) -> None:
    a, b = make_run("flat", 0), make_run("small", 0)
    write_documents(a.path / "documents.npz", documents(1.0, ("a", "a", "b")))
    write_documents(b.path / "documents.npz", documents(2.0, ("a", "a", "a")))
    found = diff(a, b, docs=True).documents
    assert found is not None
    assert (found.shared, found.only_a, found.only_b, found.total) == (2, 1, 1, 3.0)


def test_no_document_in_common(make_run: MakeRun) -> None:
    a, b = make_run("flat", 0), make_run("small", 0)
    write_documents(b.path / "documents.npz", documents(1.0, ("x",)))
    found = diff(a, b, docs=True).documents
    assert found is not None
    assert (found.shared, found.largest) == (0, ())


def rewrite(path: Path, records: list[dict[str, Any]]) -> None:
    (path / "metrics.jsonl").unlink()
    with Metrics(path / "metrics.jsonl") as lines:
        for record in records:
            lines.append(record)


def test_curves_part_at_the_first_step_outside_the_clock(make_run: MakeRun) -> None:
    a, b = make_run("flat", 0), make_run("small", 0)
    records = a.metrics()
    for record in records:
        record |= {"seconds": 99.0, "memory": 1, "bytes_per_second": 5}
    rewrite(b.path, records)
    same = diff(a, b, curves=True).curves
    assert same is not None
    assert same.step is None
    records[2]["loss"] = float(np.nextafter(records[2]["loss"], 2))
    records[4]["bpb"] += 0.25
    rewrite(b.path, records)
    found = diff(a, b, curves=True).curves
    assert found is not None
    assert found.step == 3
    assert [entry["path"] for entry in found.fields] == ["loss"]
    assert [(entry["field"], entry["step"], entry["difference"]) for entry in found.end] == [
        ("loss", 4, 0.0),
        ("bpb", 4, 0.25),
    ]


def test_a_shorter_curve_parts_where_it_ends(make_run: MakeRun) -> None:
    a, b = make_run("flat", 0), make_run("small", 0)
    rewrite(b.path, a.metrics()[:2])
    found = diff(a, b, curves=True).curves
    assert found is not None
    assert found.step == 3
    assert (found.end[0]["step"], found.end[0]["field"]) == (2, "loss")


def test_documents_of_an_unfinished_run(make_run: MakeRun) -> None:
    a, b = make_run("flat", 0), make_run("small", 0, bpb=None)
    assert diff(a, b).sections
    with pytest.raises(UserError, match="not finished"):
        diff(a, b, docs=True)


def test_a_document_that_was_cut_elsewhere_is_not_paired(make_run: MakeRun) -> None:
    a, b = make_run("flat", 0), make_run("small", 0)
    whole = documents(1.0)
    write_documents(a.path / "documents.npz", whole)
    write_documents(b.path / "documents.npz", Documents(whole.hash, whole.bytes - [0, 0, 3], whole.nats))
    found = diff(a, b, docs=True).documents
    assert found is not None
    assert (found.shared, found.only_a, found.only_b, found.total) == (2, 1, 1, 0.0)


def test_metrics_differ_by_name(make_run: MakeRun) -> None:
    a = make_run("flat", 0, results={"metrics": {"accuracy": 0.5, "recall": 1.0}})
    b = make_run("small", 0, results={"metrics": {"accuracy": 0.75, "recall": 1.0}})
    assert diff(a, b).sections["result"] == [{"path": "metrics.accuracy", "a": 0.5, "b": 0.75}]
    old, new = make_run("flat", 1), make_run("small", 1, results={"metrics": {}})
    assert "result" not in diff(old, new).sections


def test_documents_without_nats_are_not_compared(make_run: MakeRun) -> None:
    a, b = make_run("flat", 0), make_run("small", 0, results={"kind": "none", "likelihood": "distance", "bpb": None})
    with pytest.raises(UserError, match=r"small/.*: 'distance' has no nats, it is no likelihood"):
        diff(a, b, docs=True)
