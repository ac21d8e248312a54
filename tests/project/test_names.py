"""The platform names no part: what it says of one holds for every other of its kind."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from lllm.registry import Registry

PLATFORM = Path(__file__).parents[2] / "lllm"

# Names that are words of this field, too. They may be written as words; where they stand in quotes within a text, or
# after their kind, the part is meant, and no word excuses it.
WORDS = {
    "attention": "the operation, whose FLOPs torch's counter sees and whose mask a context describes",
    "byte": "bits per byte; byte strings",
    "causal": "the property that every leak test is about",
    "identity": "what makes two runs the same run",
    "local": "of a chunk: the layers inside a head; of this machine",
    "parallel": "the parallel form of a layer, beside the chunked and the stepwise one",
    "table": "the table of a comparison; a head's table of conditionals; the role of a parameter",
    "text": "what is read and written",
    "torchrun": "the program that starts a process for each device",
    "uniform": "the distribution",
}
# Those that are keys or values of the platform's own, too: all that a literal says.
KEYS = {
    "identity": "of a run, in checkpoint and state",
    "table": "the role of a parameter; the path of a table, in JSON",
    "text": "a mode of printing; a key of samples.jsonl",
    "uniform": "a purpose of random numbers",
}


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and value of every string literal, docstrings and the constant pieces of f-strings included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def named(text: str, name: str, kinds: list[str]) -> bool:
    """Whether `text` names the part."""
    if name not in WORDS:
        return re.search(rf"(?<![A-Za-z0-9_]){name}(?![A-Za-z0-9_])", text) is not None
    if text == name and name not in KEYS:
        return True
    return re.search(rf"(?P<q>['\"]){name}(?P=q)|\b({'|'.join(kinds)})/{name}\b", text) is not None


def test_the_platform_names_no_part(registry: Registry) -> None:
    names = sorted({entry.name for entry in registry.entries.values() if entry.source == "shipped"})
    found = [
        f"{path.relative_to(PLATFORM.parent)}:{line}: {name}"
        for path in sorted(PLATFORM.rglob("*.py"))
        if "_shipped" not in path.parts
        for line, text in texts(path)
        for name in names
        if named(text, name, registry.kinds())
    ]
    assert found == []


def test_a_name_is_seen(registry: Registry) -> None:
    kinds = registry.kinds()
    assert named("as in model.head=local_ar", "local_ar", kinds)
    assert named("'mixer/attention changed'", "attention", kinds)
    assert named("A part, as 'attention' or another", "attention", kinds)
    assert named("attention", "attention", kinds)
    assert not named("causal attention may ignore the mask", "attention", kinds)
    assert not named("flash_attention", "attention", kinds)


def test_no_excuse_is_left_over(registry: Registry) -> None:
    names = {entry.name for entry in registry.entries.values()}
    assert set(KEYS) <= set(WORDS) <= names
