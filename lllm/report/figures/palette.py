"""Colours of a page, light and dark: named once, used by the style sheet and by the figures.

Series have the colours of Okabe and Ito (2008), which readers with any colour vision tell apart; on a dark page some
are lighter. The baseline has the colour of the text.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["PALETTES", "look", "soft", "style_sheet", "token"]

_COLOURS = {  # on a light page, on a dark one
    "paper": ("#fdfcfa", "#141518"),
    "card": ("#f6f4ef", "#1c1e22"),
    "ink": ("#1b1a18", "#e9e6e0"),
    "muted": ("#6a665f", "#9d998f"),
    "line": ("#e2ded5", "#2e3036"),
    "accent": ("#00588a", "#7cc4ee"),
    "better": ("#007a59", "#3ecfa1"),
    "worse": ("#b84a00", "#f0925a"),
    "c1": ("#0072b2", "#56a8e0"),
    "c2": ("#d55e00", "#e8793a"),
    "c3": ("#009e73", "#2fbf94"),
    "c4": ("#cc79a7", "#dd98bf"),
    "c5": ("#e69f00", "#eeb040"),
    "c6": ("#56b4e9", "#a3d4f5"),
    "c7": ("#9a8f00", "#f0e442"),
}
SERIES = tuple(f"c{i}" for i in range(1, 8))
DASHES = ("solid", "dash", "dot", "dashdot")  # a second round of colours is dashed, a third dotted
SYMBOLS = ("square", "diamond", "triangle-up", "cross", "star", "triangle-down")  # six for seven colours: pairs differ
_SOFT = "2e"  # the alpha of a band, in hexadecimal


PALETTES: Mapping[str, Mapping[str, str]] = {
    theme: {name: both[place] for name, both in _COLOURS.items()}
    | {f"{name}-soft": f"{both[place]}{_SOFT}" for name, both in _COLOURS.items()}
    for place, theme in enumerate(("light", "dark"))
}


def look(place: int) -> tuple[str, str, str]:
    """Colour, dash and symbol of the series at a place, counted without the baseline."""
    turn, colour = divmod(place, len(SERIES))
    return SERIES[colour], DASHES[turn % len(DASHES)], SYMBOLS[place % len(SYMBOLS)]


def token(name: str) -> str:
    """How a figure names a colour; the page's script puts in the one that the theme has."""
    return f"var(--{name})"


def soft(name: str) -> str:
    """The same colour, nearly transparent."""
    return token(f"{name}-soft")


def style_sheet() -> str:
    """Custom properties: light, dark where the reader prefers that, light again on paper."""

    def rules(theme: str) -> str:
        return ":root{" + "".join(f"--{name}:{value};" for name, value in PALETTES[theme].items()) + "}"

    dark = "@media screen and (prefers-color-scheme: dark){" + rules("dark") + "}"
    return f"{rules('light')}\n{dark}\n"
