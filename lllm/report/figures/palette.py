"""Colours of a page, light and dark: named once, used by the style sheet and by the figures.

Series have the colours of Okabe and Ito (2008), which readers with any colour vision tell apart; on a dark page some
are lighter. The baseline has the colour of the text.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["DASHES", "PALETTES", "SERIES", "SYMBOLS", "soft", "style_sheet", "token"]

_LIGHT = {
    "paper": "#fdfcfa",
    "card": "#f6f4ef",
    "ink": "#1b1a18",
    "muted": "#6a665f",
    "line": "#e2ded5",
    "accent": "#00588a",
    "better": "#007a59",
    "worse": "#b84a00",
    "c1": "#0072b2",
    "c2": "#d55e00",
    "c3": "#009e73",
    "c4": "#cc79a7",
    "c5": "#e69f00",
    "c6": "#56b4e9",
    "c7": "#9a8f00",
}
_DARK = {
    "paper": "#141518",
    "card": "#1c1e22",
    "ink": "#e9e6e0",
    "muted": "#9d998f",
    "line": "#2e3036",
    "accent": "#7cc4ee",
    "better": "#3ecfa1",
    "worse": "#f0925a",
    "c1": "#56a8e0",
    "c2": "#e8793a",
    "c3": "#2fbf94",
    "c4": "#dd98bf",
    "c5": "#eeb040",
    "c6": "#a3d4f5",
    "c7": "#f0e442",
}
SERIES = tuple(f"c{i}" for i in range(1, 8))
DASHES = ("solid", "dash", "dot", "dashdot")  # a second round of colours is dashed, a third dotted
SYMBOLS = ("square", "diamond", "triangle-up", "cross", "star", "triangle-down")  # six for seven colours: pairs differ
_SOFT = "2e"  # the alpha of a band, in hexadecimal


def _with_soft(colours: Mapping[str, str]) -> dict[str, str]:
    return dict(colours) | {f"{name}-soft": f"{value}{_SOFT}" for name, value in colours.items()}


PALETTES: Mapping[str, Mapping[str, str]] = {"light": _with_soft(_LIGHT), "dark": _with_soft(_DARK)}


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
