"""Variants of a design that are one arm: a delta that sets what is the default, or what another one sets."""

from __future__ import annotations

from collections.abc import Mapping

from lllm.results.rule import Design

__all__ = ["twins"]


def twins(design: Design, arms: Mapping[str, str]) -> str:
    """Which variant is the arm of another one, and which delta changes nothing; '' where each is its own. arms: variant
    -> identity of those that are known."""
    first: dict[str, str] = {}
    for variant, own in design.of.items():
        other = first.setdefault(arms.get(variant) or variant, variant)
        if other != variant:
            deltas = [name for name in design.factors if (name in own) != (name in design.of[other])]
            told = (
                f"{deltas[0]} changes nothing" if len(deltas) == 1 else f"{' and '.join(deltas)} cannot be told apart"
            )
            return f"'{variant}' is the same arm as '{other}': {told}"
    return ""
