"""How far each artifact's next-token distributions are from the reference's, as a picture.

Drawn from the report alone: record `divergence.kl_mean` carries a histogram on a logarithmic
axis. `below` (zeros among them) and `above` count what lies outside the edges; both are part of the
share on the axis, so that artifacts stay comparable.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qgate.report.evidence import evidence_of
from qgate.report.text import cut_middle, escape_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qgate.records import Report

_MOST_LINES = 10
"""More lines than colours that an eye can tell apart help nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Curve:
    label: str
    edges_nats: Sequence[float]
    shares: Sequence[float]
    """Percent of all scored tokens, per bin."""
    p99_nats: float | None


def kl_histogram_png(report: Report) -> bytes | None:
    """Draw the divergence of every artifact; None where the report holds no histogram."""
    curves = list(_find_curves(report))
    if not curves:
        return None
    # The object interface only: pyplot would choose a backend for the whole process.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for number, curve in enumerate(curves[:_MOST_LINES]):
        color = f"C{number}"
        axes.stairs(curve.shares, curve.edges_nats, color=color, label=curve.label, linewidth=1.6)
        if curve.p99_nats:
            height = _find_share(curve, curve.p99_nats)
            axes.plot([curve.p99_nats], [height], marker="v", color=color, markersize=9, zorder=3)
    _mark_limits(axes, report)
    axes.plot([], [], marker="v", color="0.4", linestyle="none", label="99th percentile")
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("KL(reference || artifact) per token, nats")
    axes.set_ylabel("tokens per bin, %")
    left_out = len(curves) - _MOST_LINES
    note = f" ({left_out} more not shown)" if left_out > 0 else ""
    axes.set_title(f"Divergence from the reference{note}")
    axes.grid(visible=True, which="major", alpha=0.25)
    figure.legend(loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return image.getvalue()


def _mark_limits(axes: Any, report: Report) -> None:  # noqa: ANN401 - matplotlib's
    limits = {
        (record.name, record.limit.max)
        for artifact in report.artifacts
        for record in artifact.records
        if record.name.startswith("divergence.kl_") and record.limit and record.limit.max
    }
    styles = {"divergence.kl_mean": "--", "divergence.kl_p99": ":"}
    for name, bound in sorted(limits):
        label = f"limit {name} <= {bound:.4g}"
        axes.axvline(bound, color="0.35", linestyle=styles.get(name, "-."), label=label)


def _find_curves(report: Report) -> Iterator[_Curve]:
    for artifact in report.artifacts:
        rows = {record.name: record for record in artifact.records}
        mean, p99 = rows.get("divergence.kl_mean"), rows.get("divergence.kl_p99")
        histogram = mean and evidence_of(mean).kl_histogram
        if not mean or not histogram:
            continue
        total = sum(histogram.counts) + histogram.below + histogram.above
        if total <= 0:
            continue
        value = f", mean {mean.estimate.value:.3g}" if mean.estimate else ""
        below = 100 * histogram.below / total
        value += f", {below:.0f} % further left" if below >= 1 else ""
        name = f"{cut_middle(escape_line(artifact.id), 32)} {escape_line(artifact.scheme)}"
        yield _Curve(
            # matplotlib reads $...$ as mathematics, and ids are strangers' text
            label=f"{name}{value}".replace("$", r"\$"),
            edges_nats=histogram.edges_nats,
            shares=[100 * count / total for count in histogram.counts],
            p99_nats=p99.estimate.value if p99 and p99.estimate else None,
        )


def _find_share(curve: _Curve, value_nats: float) -> float:
    """Return the height of the curve at a value; 0 outside its edges."""
    bins = zip(curve.edges_nats, curve.edges_nats[1:], curve.shares, strict=False)
    return next((share for low, high, share in bins if low <= value_nats < high), 0.0)
