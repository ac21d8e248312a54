"""Beside nanoGPT's own loop on its CPU recipe: training throughput, and time to its loss with a 4:1 model.

python -m benchmarks.nanogpt CHECKOUT [throughput] [compiled] [loss]

CHECKOUT is a clone of karpathy/nanoGPT; it is copied, never changed. Everything runs in turn, medians over rounds; the
text is tinyshakespeare, split as there.
"""

from __future__ import annotations

import json
import pickle
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from lllm.data import frozen

ROUNDS, ITERATIONS, WARM = 4, 150, 40
RECIPE = ["--block_size=64", "--batch_size=12", "--n_layer=4", "--n_head=4", "--n_embd=128", "--dropout=0.0"]
FLAT = """
hypothesis: The flat model at nanoGPT's CPU recipe.
corpus: {use: text, path: tinyshakespeare, split: 0.9}
data: {context: 64}
model:
  ratio: 1
  width: 128
  downsampler: identity
  head: {use: parallel, hidden: 0}
  mixer: {use: attention, heads: 4, qk_norm: false}   # nanoGPT has none
  ffn: relu2
  trunk: {use: uniform, depth: 4}
train: {batch: 12, optimizer: adamw, lr: 1e-3}
eval: {bytes: 4096}
budget: {steps: 150}
"""


def prepare(checkout: Path, folder: Path) -> Path:
    """A copy of nanoGPT with its character data, made as its own prepare.py makes them."""
    copy = folder / "nanoGPT"
    shutil.copytree(checkout, copy, ignore=shutil.ignore_patterns(".git"))
    data = copy / "data" / "shakespeare_char"
    text = frozen.text("tinyshakespeare").decode()
    chars = sorted(set(text))
    ids = np.array([chars.index(c) for c in text], dtype=np.uint16)
    cut = int(len(text) * 0.9)
    ids[:cut].tofile(data / "train.bin")
    ids[cut:].tofile(data / "val.bin")
    meta = {"vocab_size": len(chars), "itos": dict(enumerate(chars)), "stoi": {c: i for i, c in enumerate(chars)}}
    (data / "meta.pkl").write_bytes(pickle.dumps(meta))
    return copy


def nano(copy: Path, iterations: int, *, compiled: bool, evaluate: bool) -> tuple[float, list[float], str]:
    """Seconds from process start, milliseconds of each iteration, and everything it printed."""
    evals = ["--eval_iters=20"] if evaluate else ["--eval_interval=100000", "--eval_iters=1"]
    command = [sys.executable, "train.py", "config/train_shakespeare_char.py", "--device=cpu", *RECIPE, *evals]
    command += [f"--compile={compiled}", f"--max_iters={iterations}", "--lr_decay_iters=2000", "--log_interval=1"]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - began
    return seconds, [float(ms) for ms in re.findall(r"time ([\d.]+)ms", done.stdout)], done.stdout


def ours(folder: Path, *words: str) -> tuple[float, list[dict[str, float]], dict[str, float]]:
    """Seconds from process start, the records of metrics.jsonl, and result.json of an lllm command."""
    shutil.rmtree(folder / "results", ignore_errors=True)
    began = time.perf_counter()
    command = [sys.executable, "-m", "lllm", "run", *words]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    seconds = time.perf_counter() - began
    (run,) = (path.parent for path in folder.glob("results/*/*/*/s*/result.json"))
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return seconds, records, json.loads((run / "result.json").read_text())


def throughput(copy: Path, folder: Path, *, compiled: bool) -> None:
    (folder / "flat.yaml").write_text(FLAT)
    theirs: list[float] = []
    mine: list[float] = []
    for _ in range(ROUNDS):
        _, times, _ = nano(copy, ITERATIONS, compiled=compiled, evaluate=False)
        theirs.append(12 * 64 / statistics.median(times[WARM:]) * 1000)
        words = ["flat.yaml", f"compile={str(compiled).lower()}", "eval_every=100000"]
        _, records, _ = ours(folder, *words)
        mine.append(statistics.median(r["bytes_per_second"] for r in records[WARM // 10 :] if "bytes_per_second" in r))
    ratio = statistics.median(a / b for a, b in zip(mine, theirs, strict=True))
    kind = "compiled" if compiled else "eager"
    print(
        f"{kind}: nanoGPT {statistics.median(theirs):,.0f} tokens/s, ours {statistics.median(mine):,.0f}: {ratio:.3f}x"
    )


def time_to_loss(copy: Path, folder: Path) -> None:
    seconds, _, printed = nano(copy, 2000, compiled=False, evaluate=True)
    loss = float(re.findall(r"val loss ([\d.]+)", printed)[-1])
    mine, _, result = ours(folder, "shakespeare", "local_ar")
    print(f"nanoGPT: {loss:.3f} nats/char in {seconds:.1f} s; ours, 4:1: {result['nats_per_byte']:.3f} in {mine:.1f} s")
    print(f"{mine / seconds:.2f} of its time")


def main() -> None:
    checkout, wanted = Path(sys.argv[1]).resolve(), sys.argv[2:] or ["throughput", "compiled", "loss"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy = prepare(checkout, folder)
        if "throughput" in wanted:
            throughput(copy, folder, compiled=False)
        if "compiled" in wanted:
            throughput(copy, folder, compiled=True)
        if "loss" in wanted:
            time_to_loss(copy, folder)


if __name__ == "__main__":
    main()
