"""The noise of the baseline: its values over seeds."""

from __future__ import annotations

from lllm.report.figures.figure import NO_BOX, Figure, label, lined_up, numbers
from lllm.report.figures.palette import soft, token
from lllm.report.gather import Report
from lllm.report.html import Table

__all__ = ["spread"]


def spread(report: Report) -> Figure | None:
    """Of what `lllm noise` measured of the table's baseline; None where it did not."""
    import plotly.graph_objects as go

    noise = report.noise
    if noise is None:
        return None
    name = next(row.variant for row in report.comparison.rows if row.baseline)
    points = go.Scatter(
        x=numbers(noise.values),
        y=[0] * noise.n,
        mode="markers",
        marker={"size": 10, "color": token("c1"), "opacity": 0.75},
        name=label(name),
        text=[f"seed {seed}" for seed in noise.seeds],
        hovertemplate=f"%{{text}}<br>{label(noise.metric)} %{{x:.5f}}{NO_BOX}",
        showlegend=False,
    )
    spec = go.Figure(points)
    low, high = noise.mean - 2 * noise.sd, noise.mean + 2 * noise.sd
    area = {"x0": low, "x1": high, "y0": -0.3, "y1": 0.3, "fillcolor": soft("muted"), "line_width": 0}
    spec.add_shape(type="rect", layer="below", **area)
    lined_up(spec, [name], label(noise.metric))
    spec.update_layout(xaxis={"range": numbers([noise.mean - 3 * noise.sd, noise.mean + 3 * noise.sd])})
    caption = (
        "Each point is a seed of the baseline. Grey: its mean ± 2 standard deviations, as lllm noise measured them. "
        "Plans tell from them which difference their seeds would find; no verdict rests on them."
    )
    mean, sd, least, most, *values = (f"{v:.5f}" for v in (noise.mean, noise.sd, noise.low, noise.high, *noise.values))
    row = [name, noise.metric, str(noise.n), mean, sd, f"{least} to {most}", ", ".join(values)]
    headers = ["baseline", "metric", "seeds", "mean", "sd", "interval of sd", "values"]
    return Figure("noise", spec, caption, 190, numbers=Table(headers, [row], right=(2, 3, 4)))
