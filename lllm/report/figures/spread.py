"""The noise of the baseline: its values over seeds."""

from __future__ import annotations

from lllm.report.figures.figure import Figure, label, numbers
from lllm.report.figures.lines import lined_up
from lllm.report.figures.palette import soft, token
from lllm.report.gather import Report
from lllm.report.html import Table
from lllm.results.noise import Noise

__all__ = ["spread"]


def spread(report: Report) -> Figure | None:
    """Of what `lllm noise` measured of the table's baseline; None where it did not."""
    import plotly.graph_objects as go

    noise = report.noise
    if noise is None:
        return None
    name = next(row.variant for row in report.comparison.rows if row.baseline)
    spec = go.Figure()
    spec.add_shape(
        type="rect",
        x0=noise.mean - 2 * noise.sd,
        x1=noise.mean + 2 * noise.sd,
        y0=-0.3,
        y1=0.3,
        fillcolor=soft("muted"),
        line_width=0,
        layer="below",
    )
    spec.add_trace(
        go.Scatter(
            x=numbers(noise.values),
            y=[0] * noise.n,
            mode="markers",
            marker={"size": 10, "color": token("c1"), "opacity": 0.75},
            name=label(name),
            text=[f"seed {seed}" for seed in noise.seeds],
            hovertemplate=f"%{{text}}<br>{label(noise.metric)} %{{x:.5f}}<extra></extra>",
            showlegend=False,
        )
    )
    lined_up(spec, [name], label(noise.metric))
    spec.update_layout(xaxis={"range": numbers([noise.mean - 3 * noise.sd, noise.mean + 3 * noise.sd])})
    caption = (
        "Each point is a seed of the baseline. Grey: its mean ± 2 standard deviations, as lllm noise measured them. "
        "Plans tell from them which difference their seeds would find; no verdict rests on them."
    )
    return Figure("noise", spec, caption, 190, numbers=_table(name, noise))


def _table(name: str, noise: Noise) -> Table:
    row = [
        name,
        noise.metric,
        str(noise.n),
        f"{noise.mean:.5f}",
        f"{noise.sd:.5f}",
        f"{noise.low:.5f} to {noise.high:.5f}",
        ", ".join(f"{value:.5f}" for value in noise.values),
    ]
    headers = ["baseline", "metric", "seeds", "mean", "sd", "interval of sd", "values"]
    return Table(headers, [row], right=(2, 3, 4))
