"""The noise of the baseline: its values over seeds."""

from __future__ import annotations

from collections.abc import Sequence

from lllm.report.figures.figure import Figure, label, numbers
from lllm.report.figures.lines import lined_up
from lllm.report.figures.palette import soft, token
from lllm.report.gather import Report
from lllm.report.html import Table
from lllm.results.noise import Noise

__all__ = ["spread"]


def spread(report: Report) -> Figure | None:
    """Of what `lllm noise` measured; None where it was not."""
    import plotly.graph_objects as go

    if not report.noises:
        return None
    spec = go.Figure()
    shown = list(report.noises.values())
    for place, (name, noise) in enumerate(report.noises.items()):
        spec.add_shape(
            type="rect",
            x0=noise.mean - 2 * noise.sd,
            x1=noise.mean + 2 * noise.sd,
            y0=place - 0.3,
            y1=place + 0.3,
            fillcolor=soft("muted"),
            line_width=0,
            layer="below",
        )
        spec.add_trace(
            go.Scatter(
                x=numbers(noise.values),
                y=[place] * noise.n,
                mode="markers",
                marker={"size": 10, "color": token("c1"), "opacity": 0.75},
                name=label(name),
                text=[f"seed {seed}" for seed in noise.seeds],
                hovertemplate=f"%{{text}}<br>{label(noise.metric)} %{{x:.5f}}<extra></extra>",
                showlegend=False,
            )
        )
    lined_up(spec, list(report.noises), label(" or ".join(sorted({noise.metric for noise in shown}))))
    spec.update_layout(xaxis={"range": _range(shown)})
    caption = (
        "Each point is a seed of the baseline. Grey: its mean ± 2 standard deviations, as lllm noise measured them."
    )
    return Figure("noise", spec, caption, 140 + 50 * len(shown), numbers=_table(report))


def _range(noises: Sequence[Noise]) -> list[float | None]:
    """Of the axis: all bands, with room beside them."""
    return numbers([min(n.mean - 3 * n.sd for n in noises), max(n.mean + 3 * n.sd for n in noises)])


def _table(report: Report) -> Table:
    rows = [
        [
            name,
            noise.metric,
            str(noise.n),
            f"{noise.mean:.5f}",
            f"{noise.sd:.5f}",
            f"{noise.low:.5f} to {noise.high:.5f}",
            ", ".join(f"{value:.5f}" for value in noise.values),
        ]
        for name, noise in report.noises.items()
    ]
    headers = ["baseline", "metric", "seeds", "mean", "sd", "interval of sd", "values"]
    return Table(headers, rows, right=(2, 3, 4))
