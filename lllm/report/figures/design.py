"""Effects of a designed experiment's deltas, with their intervals."""

from __future__ import annotations

from lllm.report.figures.figure import NO_BOX, Figure, around_zero, bars, label, lined_up, numbers
from lllm.report.figures.palette import token
from lllm.report.gather import Report
from lllm.report.html import Table
from lllm.results.columns import digits
from lllm.results.effects import effects_text
from lllm.results.rows import Effect, Effects

__all__ = ["design"]


def design(report: Report) -> Figure | None:
    """None where the experiment has no design, or no effect has a value."""
    import plotly.graph_objects as go

    effects = report.comparison.effects
    shown = [effect for effect in effects.effects if effect.difference is not None] if effects else []
    if effects is None or not shown:
        return None
    sure = [effect.half is not None and not effect.note for effect in shown]  # as it is said below the table
    spec = go.Figure(
        go.Scatter(
            x=numbers(effect.difference for effect in shown),
            y=list(range(len(shown))),
            mode="markers",
            marker={"size": 10, "color": [token("c1" if one else "muted") for one in sure]},
            error_x=bars((effect.half for effect in shown), "muted", 2),
            text=[_said(effect, effects.metric) for effect in shown],
            hovertemplate=f"%{{text}}{NO_BOX}",
            name="effects",
            showlegend=False,
        )
    )
    floor = report.comparison.rule.floor
    around_zero(spec, floor)
    lined_up(spec, [effect.name for effect in shown], f"effect on {label(effects.metric)}")
    rows = [
        [one.name, digits(one.difference, "+.4g"), digits(one.half, ".4g"), digits(one.p, ".4g"), one.note]
        for one in effects.effects
    ]
    table = Table(["effect", f"Δ {effects.metric}", "±", "p", ""], rows, right=(1, 2, 3))
    return Figure("effects", spec, _caption(effects, floor), 120 + 34 * len(shown), numbers=table)


def _said(effect: Effect, metric: str) -> str:
    spread = f" ± {effect.half:.4g}" if effect.half is not None else ""
    note = f"<br>{label(effect.note)}" if effect.note else ""
    return f"<b>{label(effect.name)}</b><br>{effect.difference:+.4g}{spread} {label(metric)}{note}"


def _caption(effects: Effects, floor: float | None) -> str:
    heading = effects_text(effects)[0].rstrip(":")
    band = "" if floor is None else " Grey band: the floor."
    return f"{heading[0].upper()}{heading[1:]}. Coloured: told from none.{band}"
