"""Generations of all rows side by side."""

from __future__ import annotations

from lllm.report.gather import Report, Sample, samples_of
from lllm.report.html import details, esc, paragraph

__all__ = ["samples"]

_LETTERS = 600  # of a sample
_OPEN = 2  # prompts whose samples are seen without a click


def samples(report: Report) -> str:
    """HTML: for each prompt what the first seed of each row wrote; or a sentence that says why there is nothing."""
    found: dict[str, tuple[Sample, ...]] = {}
    for series in report.series:
        every = (samples_of(record) for record in series.runs)
        found[series.name] = next((some for some in every if some), ())
    if not any(found.values()):
        return paragraph("None here: samples are in the directories of runs, and only their numbers are committed.")
    by_prompt: dict[str, list[tuple[str, str]]] = {}
    for name, some in found.items():
        for sample in some:
            by_prompt.setdefault(sample.prompt, []).append((name, sample.text))
    said = paragraph(
        "What the first seed of each row wrote. Muted: the prompt, a piece of the validation text.", "caption"
    )
    blocks = [_prompt(i, prompt, texts) for i, (prompt, texts) in enumerate(by_prompt.items())]
    without = [name for name, some in found.items() if not some]
    missing = paragraph(f"Without samples here: {', '.join(without)}.", "caption") if without else ""
    return said + "".join(blocks) + missing


def _prompt(place: int, prompt: str, texts: list[tuple[str, str]]) -> str:
    cards = "".join(
        f"<article><h4>{esc(name)}</h4><blockquote>"
        f'<span class="prompt">{esc(prompt)}</span>{esc(_cut(text))}</blockquote></article>'
        for name, text in texts
    )
    title = f"Prompt {place + 1}" if prompt.strip() else "Without a prompt"
    return details(title, f'<div class="samples">{cards}</div>', is_open=place < _OPEN)


def _cut(text: str) -> str:
    return text if len(text) <= _LETTERS else text[:_LETTERS] + "…"
