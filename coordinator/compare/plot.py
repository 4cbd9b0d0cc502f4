"""Plot test error against steps and seconds, one curve per rule. Needs the extra [plot]."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from coordinator.compare.results import CurvePoint, RunGroup
from coordinator.run_folder.layout import write_atomically
from protocol import RunError
from protocol.errors import install_hint
from protocol.printable import printable

IMAGE: Final = "comparison.png"
COLOURS: Final = {
    "no-bprop": "#7f7f7f",
    "backprop": "#1f77b4",
    "dni": "#ff7f0e",
    "cdni": "#2ca02c",
    "unlocked-dni": "#d62728",
    "unlocked-cdni": "#9467bd",
}


def draw_curves(groups: Sequence[RunGroup], out: Path) -> Path:
    """Write comparison.png, one row of two panels per network. Raises RunError without [plot]."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise RunError(f"the plot needs matplotlib: {install_hint('plot')}") from None
    networks = list(dict.fromkeys(group.network for group in groups))
    figure = Figure(figsize=(11, 0.6 + 3.8 * len(networks)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(networks), 2, squeeze=False)
    for row, network in zip(panels, networks, strict=True):
        members = [group for group in groups if group.network == network]
        _panel(row[0], members, "steps", lambda point: point.step)
        _panel(row[1], members, "seconds, including the start of the workers", lambda p: p.seconds)
        row[0].set_title(printable(network), loc="left", fontweight="bold", parse_math=False)
        row[1].legend(frameon=False)
    path = out / IMAGE
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # for characters of a name that the font lacks
        write_atomically(path, lambda part: figure.savefig(part, dpi=130, format="png"))
    return path


def _panel(
    axes: Any, groups: Sequence[RunGroup], label: str, across: Callable[[CurvePoint], float]
) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for group in groups:
        colour = COLOURS[group.rule]
        for run in group.runs if len(group.runs) > 1 else ():
            axes.plot(
                [across(p) for p in run.curve],
                [_height(p) for p in run.curve],
                color=colour,
                linewidth=0.6,
                alpha=0.35,
            )
        mean = [_mean(points) for points in zip(*(r.curve for r in group.runs), strict=False)]
        axes.plot(
            [across(p) for p in mean],
            [_height(p) for p in mean],
            color=colour,
            linewidth=1.8,
            marker="o",
            markersize=3,
            label=group.rule,
        )
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(label)
    axes.set_ylabel("test error, %")
    axes.grid(visible=True, which="both", linewidth=0.3, alpha=0.6)
    axes.set_xlim(left=0)


def _height(point: CurvePoint) -> float:
    """The error to plot: a logarithmic axis cannot show 0."""
    return max(point.error, 0.01)


def _mean(points: Sequence[CurvePoint]) -> CurvePoint:
    """The mean over the seeds at one evaluation."""
    return CurvePoint(
        points[0].step,
        statistics.mean(point.seconds for point in points),
        statistics.mean(point.error for point in points),
    )
