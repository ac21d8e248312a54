"""Generations of all rows side by side."""

from __future__ import annotations

from collections import defaultdict

from lllm.report.gather import Report, samples_of
from lllm.report.html import details, esc, paragraph

__all__ = ["samples"]

_LETTERS = 600  # of a sample
_OPEN = 2  # prompts whose samples are seen without a click


def samples(report: Report) -> str:
    """HTML: for each prompt what the first seed of each row wrote; or a sentence that says why there is nothing."""
    by_prompt: dict[str, list[tuple[str, str]]] = defaultdict(list)
    without = []
    for series in report.series:
        found = next((some for record in series.runs if (some := samples_of(record))), [])
        for prompt, text in found:
            by_prompt[prompt].append((series.name, text))
        without += [] if found else [series.name]
    if not by_prompt:
        return paragraph("None here: samples are in the directories of runs, and only their numbers are committed.")
    said = "What the first seed of each row wrote. Muted: the prompt, a piece of the validation text."
    blocks = [_prompt(i, prompt, texts) for i, (prompt, texts) in enumerate(by_prompt.items())]
    missing = paragraph(f"Without samples here: {', '.join(without)}.", "caption") if without else ""
    return paragraph(said, "caption") + "".join(blocks) + missing


def _prompt(place: int, prompt: str, texts: list[tuple[str, str]]) -> str:
    cards = "".join(
        f'<article><h4>{esc(name)}</h4><blockquote><span class="prompt">{esc(prompt)}</span>'
        f"{esc(text[:_LETTERS])}{'…' if len(text) > _LETTERS else ''}</blockquote></article>"
        for name, text in texts
    )
    title = f"Prompt {place + 1}" if prompt.strip() else "Without a prompt"
    return details(title, f'<div class="samples">{cards}</div>', is_open=place < _OPEN)
