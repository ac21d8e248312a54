"""`lllm generate`: let a trained model write."""

from __future__ import annotations

import codecs
import os
import sys
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lllm.cli.options import Device, Json, Plugins, Results, RunName
from lllm.cli.output import print_json
from lllm.errors import INTERRUPTED, UserError

if TYPE_CHECKING:
    from lllm.loaded import Loaded

__all__ = ["generate"]

# what a terminal would obey: control characters other than tab and newline, those of Latin-1 included
_CONTROLS = {code: "\N{REPLACEMENT CHARACTER}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}


def generate(
    run: RunName,
    prompt: Annotated[list[str] | None, typer.Option("--prompt", help="How the text begins; may be repeated.")] = None,
    prompt_file: Annotated[
        list[Path] | None, typer.Option("--prompt-file", help="A file of any bytes that is a prompt; may be repeated.")
    ] = None,
    size: Annotated[int, typer.Option("--bytes", help="How many bytes to write at most.")] = 200,
    temperature: Annotated[float, typer.Option(help="0 is greedy, 1 the model's own distribution.")] = 0.8,
    top_k: Annotated[int | None, typer.Option("--top-k", help="Draw among the likeliest so many tokens.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed writes the same text.")] = 0,
    device: Device = "auto",
    results: Results = Path("results"),
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """Continue prompts, or write from nothing. One prompt's text appears as it is written."""
    prompts = [os.fsencode(text) for text in prompt or []] + [_read(path) for path in prompt_file or []]
    prompts = prompts or [b""]
    from lllm import load

    loaded = load(run, device, results=results, plugins=plugin or [])
    options: dict[str, Any] = {"bytes": size, "temperature": temperature, "top_k": top_k, "seed": seed}
    try:
        if as_json:
            texts = loaded.generate(prompts, **options)
            pairs = zip(prompts, texts, strict=True)
            print_json([{"prompt": _text(before), "text": _text(text)} for before, text in pairs])
        elif len(prompts) == 1:
            _stream(loaded, prompts[0], options)
        else:
            texts = loaded.generate(prompts, **options)
            for i, (before, text) in enumerate(zip(prompts, texts, strict=True), start=1):
                print(f"--- {i} of {len(prompts)}")
                print(_shown(_text(before + text)))
    except KeyboardInterrupt:
        print(flush=True)
        raise typer.Exit(INTERRUPTED) from None


def _stream(loaded: Loaded, prompt: bytes, options: dict[str, Any]) -> None:
    """Prompt and text, flushed a chunk at a time; a character whose bytes come apart waits for its end."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    rounds = loaded.stream([prompt], **options)
    for piece in chain([prompt], (new[0] for new in rounds)):
        print(_shown(decoder.decode(piece)), end="", flush=True)
    print(_shown(decoder.decode(b"", final=True)))


def _shown(text: str) -> str:
    return text.translate(_CONTROLS) if sys.stdout.isatty() else text


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"--prompt-file {path}: cannot be read ({error.strerror}); expected a file") from None
