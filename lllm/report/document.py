"""The document around a page: style, data, the plotting library, and a policy under which nothing else can run or load.

Scripts are admitted by the digest of their text, so that no user's word can become one; the network is out of reach.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from lllm.report.figures.figure import CONFIG, LAYOUT, NARROW, Figure
from lllm.report.figures.palette import PALETTES, style_sheet
from lllm.report.html import esc

__all__ = ["document"]

_POLICY = (
    "default-src 'none'; {scripts}style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
)


def document(title: str, body: str, figures: Sequence[Figure] = ()) -> str:
    """A whole HTML document. body: HTML. Plotly is in it once, compressed, where there are figures."""
    scripts = [_asset("script.js"), _plotly()] if figures else []
    policy = _POLICY.format(scripts=f"script-src {' '.join(map(_digest, scripts))}; " if scripts else "")
    style = style_sheet() + _asset("style.css")
    drawn = _drawing(figures) if figures else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n<link rel="icon" href="data:,">\n'
        f"<title>{esc(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n{body}\n{_footer()}\n{drawn}</body>\n</html>\n"
    )


def _drawing(figures: Sequence[Figure]) -> str:
    """What draws the figures: their data, the library, the page's own script."""
    drawn = [figure.to_json() for figure in figures]
    told = {"figures": drawn, "layout": LAYOUT, "narrow": NARROW, "config": CONFIG, "palettes": PALETTES}
    data = json.dumps(told, separators=(",", ":"), ensure_ascii=True, allow_nan=False).replace("<", "\\u003c")
    return (
        f'<script type="application/json" id="figures">{data}</script>\n'
        f'<script type="text/plain" id="plotly">{_packed()}</script>\n'
        f"<script>{_asset('script.js')}</script>\n"
    )


@cache
def _packed() -> str:
    """Plotly, compressed: 2 MB instead of 4.8."""
    return base64.b64encode(gzip.compress(_plotly().encode(), 9, mtime=0)).decode()


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


@cache
def _asset(name: str) -> str:
    return (files("lllm.report") / "assets" / name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _footer() -> str:
    from lllm import __version__

    return f"<footer>Made from files alone by lllm {esc(__version__)}. This page loads nothing from anywhere.</footer>"
