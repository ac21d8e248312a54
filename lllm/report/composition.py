"""What each variant is composed of, beside the baseline: nodes with their rates, parameters and FLOPs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lllm.report.gather import Composition, Report
from lllm.report.html import Table, details, esc, paragraph, table_html
from lllm.results.columns import si

__all__ = ["compositions"]


def compositions(report: Report) -> str:
    """HTML: a table for each variant, the baseline's open; or a sentence that says why there is none."""
    if not report.compositions:
        return paragraph(report.without_compositions or "Not known: the experiment's parts are not here.")
    base = next((s.row.variant for s in report.series if s.baseline), report.compositions[0].variant)
    usual = next((c for c in report.compositions if c.variant == base), report.compositions[0])
    said = paragraph(
        f"As the file defines the variants now{', with the changes above' if report.comparison.settings else ''}. "
        "Rate: positions per token. The columns after parameters and FLOPs say what differs from the baseline's node "
        "in the same place.",
        "caption",
    )
    return said + "".join(_composition(one, usual) for one in report.compositions)


def _composition(one: Composition, usual: Composition) -> str:
    total = si(one.nodes[0]["parameters"]) if one.nodes else "-"
    body = table_html(_tree(one, usual), "tree", f"Nodes of {one.variant}")
    if one.matched:
        body += paragraph(f"Matched to {usual.variant}: {one.matched}.", "caption")
    if one.settings:
        shown = "\n".join(f"{path.removesuffix('.use')}={_written(value)}" for path, value in one.settings.items())
        body += details("Settings that are not the default", f"<pre>{esc(shown)}</pre>")
    return details(f"{one.variant}, {total} parameters", body, is_open=one is usual)


def _tree(one: Composition, usual: Composition) -> Table:
    before = {node["path"]: node for node in usual.nodes}
    rows = []
    for node in one.nodes:
        old: Mapping[str, Any] = before.get(node["path"], {})
        last = str(node["path"]).rpartition(".")[2]
        name = "  " * int(node["depth"]) + (f"{last}: " if last else "") + str(node["name"])
        sizes = [(node[what], old.get(what)) for what in ("parameters", "flops_per_token")]
        cells = [cell for now, was in sizes for cell in (si(now), _change(now, was))]
        rows.append([name, _rate(node["rate"]), *cells])
    return Table(["node", "rate", "parameters", "", "FLOPs/token", ""], rows, right=range(1, 6))


def _rate(rate: float) -> str:
    """As a fraction where it is one."""
    return f"1/{1 / rate:.0f}" if rate < 1 and abs(1 / rate - round(1 / rate)) < 1e-9 else f"{rate:g}"


def _change(now: float, before: float | None) -> str:
    return "=" if now == before else f"{now / before - 1:+.1%}" if before else "new"


def _written(value: Any) -> str:
    return str(value) if value is not None and not isinstance(value, bool) else json.dumps(value)
