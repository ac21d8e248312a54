"""`lllm generate`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import lllm
from tests.cli.conftest import Verb

pytestmark = pytest.mark.usefixtures("inside")

COMMAND = [sys.executable, "-c", "from lllm.cli import main; main()", "generate", "tiny/four"]


def test_one_prompt_is_continued(verb: Verb) -> None:
    done = verb("generate", "tiny/four", "--prompt", "né ", "--bytes", "30", "--seed", "2")
    (text,) = lllm.load("tiny/four").generate(["né "], bytes=30, temperature=0.8, seed=2)
    assert done.code == 0
    assert done.out == ("né ".encode() + text).decode("utf-8", "replace") + "\n"
    assert done.err == ""


def test_several_prompts_follow_one_another(verb: Verb, tmp_path: Path) -> None:
    raw = tmp_path / "raw.bin"
    raw.write_bytes(bytes(range(256)))
    arguments = ["generate", "flat", "--prompt", "", "--prompt", "ab", "--prompt-file", raw, "--bytes", "8"]
    done = verb(*arguments, "--top-k", "4", "--json")
    found = json.loads(done.out)
    assert [one["prompt"] for one in found] == ["", "ab", bytes(range(256)).decode("utf-8", "replace")]
    texts = lllm.load("flat").generate([b"", b"ab", bytes(range(256))], bytes=8, temperature=0.8, top_k=4)
    assert [one["text"] for one in found] == [text.decode("utf-8", "replace") for text in texts]
    assert "--- 3 of 3" in verb(*arguments).out


def test_without_a_prompt_it_writes_from_nothing(verb: Verb) -> None:
    assert verb("generate", "flat", "--bytes", "0").out == "\n"
    assert json.loads(verb("generate", "flat", "--bytes", "4", "--json").out)[0]["prompt"] == ""


def test_it_streams_and_ends_cleanly_on_interruption() -> None:
    # greedy, so that no end of the text is drawn: it still writes when it is interrupted
    arguments = [*COMMAND, "--bytes", "100000000", "--temperature", "0", "--prompt", "begin "]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a suite in the background ignores it
    ) as process:
        assert process.stdout is not None
        assert len(process.stdout.read(20)) == 20  # arrives before the end
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == b""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tinny/four"], "run 'tinny/four': there is none below results; did you mean 'tiny/four'?"),
        (["tiny"], "2 runs are meant"),
        (["four", "--bytes", "-3"], "bytes = -3: expected 0 or more"),
        (["four", "--temperature", "-1"], "temperature = -1.0: expected 0 (greedy)"),
        (["four", "--top-k", "0"], "top_k = 0: expected 1 or more"),
        (["four", "--prompt-file", "absent"], "--prompt-file absent: cannot be read"),
        (["four", "--prompt-file", "."], "--prompt-file .: cannot be read"),
        (["four", "--device", "tpu9"], "device = 'tpu9': expected auto, cpu, cuda"),
        (["four", "--results", "nowhere"], "there is none below nowhere"),
    ],
)
def test_bad_input(verb: Verb, arguments: list[str], message: str) -> None:
    done = verb("generate", *arguments)
    assert done.code == 2
    assert message in done.err
    assert done.out == ""
    assert done.err.count("\n") == 1
