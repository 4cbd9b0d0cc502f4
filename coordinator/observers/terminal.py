"""Displays of a run: a live one on a terminal, lines of text on a pipe."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from coordinator.console.columns import Column, Phrases, Table
from coordinator.console.terminal import Terminal
from coordinator.observers.observer import Observer
from coordinator.observers.run_stats import RunStats, busy_fraction
from coordinator.resources.blas import reason
from protocol import Pipeline, Report

LINE_SECONDS: Final = 5.0
SPARE_LINES: Final = 6
"""The lines of a terminal that the table of layers leaves to the progress bar and the prompt."""


def _figures(stats: RunStats) -> Phrases:
    loss = "-" if stats.loss is None else f"{stats.loss:.4g}"
    error = "-" if stats.test_error is None else f"{stats.test_error:.2f} %"
    rate = f"{stats.samples_per_second:,.0f} samples/s"
    return Phrases((f"loss {loss}", f"test error {error}", rate), "  ")


def blas_threads(pipeline: Pipeline, count: int) -> str:
    """The BLAS threads per worker and the reason; a `count` of 0 leaves the number to each host."""
    if not count:
        return "its host's BLAS threads per worker"
    source = reason(pipeline)
    text = f"{count} BLAS {'thread' if count == 1 else 'threads'} per worker"
    return f"{text} ({source})" if source else text


def _heading(stats: RunStats, threads: int) -> Phrases:
    p = stats.pipeline
    batch, steps = f"batch {p.data.batch}", f"{p.train.steps} steps"
    rest = (p.train.schedule, f"{len(p.layer)} layers", batch, steps)
    return Phrases((f"{p.name}: {p.rule}", *rest, blas_threads(p, threads)))


class LiveDisplay(Observer):
    """A progress bar, the figures of the run, and a table with one row per stage."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("step {task.completed:,.0f}/{task.total:,.0f}"),
            BarColumn(bar_width=None),
            TimeRemainingColumn(),
            console=console,
            expand=True,
        )
        self._task = TaskID(0)
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def on_begin(self, stats: RunStats, threads: int) -> None:
        """Print the heading and start the live display."""
        self._console.print(_heading(stats, threads), crop=False)
        self._task = self._bar.add_task("", total=stats.pipeline.train.steps)
        self._live.start()

    def on_tick(self, stats: RunStats) -> None:
        """Draw the bar and the table again."""
        parts: list[RenderableType] = [self._bar]
        if stats.layers:
            self._bar.update(self._task, completed=stats.step)
            room = self._console.size.height - SPARE_LINES
            parts += [_figures(stats), *([layer_table(stats, room)] if room > 0 else [])]
        else:
            parts.append(Phrases(["starting the workers"]))
        self._live.update(Group(*parts), refresh=True)

    def on_end(self) -> None:
        """Remove the live display; the closing table follows."""
        self._live.stop()


class PlainDisplay(Observer):
    """A line every `LINE_SECONDS` and after each evaluation."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next_line = time.monotonic() + LINE_SECONDS

    def on_begin(self, stats: RunStats, threads: int) -> None:
        """Print the heading."""
        self._print(_heading(stats, threads))

    def on_tick(self, stats: RunStats) -> None:
        """Print a line if one is due."""
        if stats.layers and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_SECONDS
            figures = _figures(stats)
            self._print(Phrases((f"step {stats.step}", *figures.phrases), figures.separator))

    def on_metrics(self, stats: RunStats, row: Mapping[str, object]) -> None:
        """Print a line with the test error if `row` is an evaluation."""
        if "test_error" in row:
            error = f"test error {stats.test_error:.2f} %"
            self._print(Phrases((f"step {row['step']}", error), "  "))

    def _print(self, phrases: Phrases) -> None:
        self._console.print(phrases, crop=False)


_LAYER_COLUMNS: Final = (
    Column("stage", left=True),
    Column("updates", 2),
    Column("samples/s"),
    Column("busy", 1),
    Column("queue", 6),
    Column("staleness", 3),
    Column("cosine", 4),
    Column("dropped", 5),
    Column("MiB", 7),
)


def layer_table(stats: RunStats, max_rows: int | None = None) -> Table:
    """One row per stage: rate, load, age of gradients, quality of synthetic gradients.

    A live display has room for `max_rows` rows; the table at the end of the run has all of them.
    """
    known = [(name, stats.layers[name]) for name in stats.pipeline.stages if name in stats.layers]
    rows = [(name, *_cells(layer.report, layer.rate)) for name, layer in known[:max_rows]]
    if max_rows is None:
        return Table(_LAYER_COLUMNS, rows, hint="use a wider terminal or see metrics.jsonl")
    hidden = len(known) - len(rows)
    notes = [Phrases([f"{hidden} more; the table at the end has all"])] if hidden > 0 else []
    return Table(_LAYER_COLUMNS, rows, notes, hint="")


def _cells(r: Report, rate: float) -> tuple[str, ...]:
    learns = r.name != "source"
    return (
        f"{r.updates:,}" if learns else "",
        f"{rate:,.0f}",
        f"{busy_fraction(r):.0%}",
        f"{r.queue}" if learns else "",
        f"{r.staleness_p50} (max {r.staleness_max})" if r.gradients else "",
        "" if r.synthetic_cosine is None else f"{r.synthetic_cosine:.2f}",
        f"{r.dropped_gradients:,}" if learns else "",
        f"{r.rss_mb:,.0f}",
    )


def choose_display(console: Terminal) -> LiveDisplay | PlainDisplay:
    """The display that fits the output of `console`."""
    live = console.interactive and not console.is_dumb_terminal
    return LiveDisplay(console) if live else PlainDisplay(console)
