"""What a person sees of a run: a live picture on a terminal, plain lines on a pipe."""

from __future__ import annotations

import time
from typing import Final

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from coordinator.blas import reason
from coordinator.tally import Tally, busy
from protocol import Pipeline, Report

PLAIN_SECONDS: Final = 5.0
PIPE_COLUMNS: Final = 120


class Terminal(Console):
    """Where a person reads; wide enough for every table where it is no terminal.

    A reader who goes away silences it, and nothing more: the run goes on.
    """

    def __init__(self, stderr: bool = False) -> None:
        super().__init__(stderr=stderr)
        if not self.is_terminal:
            self.width = PIPE_COLUMNS

    def say(self, text: str) -> None:
        """Print `text` as it is."""
        self.print(text, highlight=False, soft_wrap=True, markup=False)

    def on_broken_pipe(self) -> None:
        """Say nothing from here on."""
        self.quiet = True


def _figures(tally: Tally) -> str:
    loss = "-" if tally.loss is None else f"{tally.loss:.4g}"
    error = "-" if tally.test_error is None else f"{tally.test_error:.2f} %"
    return f"loss {loss}  test error {error}  {tally.samples_per_second:,.0f} samples/s"


def blas_threads(pipeline: Pipeline, count: int) -> str:
    """How many threads a worker computes with, and why; 0 for what its own machine has."""
    if not count:
        return "its machine's BLAS threads a worker"
    why = reason(pipeline)
    text = f"{count} BLAS {'thread' if count == 1 else 'threads'} a worker"
    return f"{text} ({why})" if why else text


def _heading(tally: Tally, threads: int) -> str:
    p = tally.pipeline
    return (
        f"{p.name}: {p.rule}, {p.train.schedule}, {len(p.layer)} layers, "
        f"batch {p.data.batch}, {p.train.steps} steps, "
        f"{blas_threads(p, threads)}"
    )


class LiveDisplay:
    """A progress bar, and a line a layer under it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("step {task.completed:>7,.0f}/{task.total:,.0f}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=console,
            expand=True,
        )
        self._task = TaskID(0)
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def begin(self, tally: Tally, threads: int) -> None:
        """The run starts."""
        self._console.print(_heading(tally, threads), highlight=False, markup=False)
        self._task = self._bar.add_task(
            "", total=tally.pipeline.train.steps, figures="starting the workers"
        )
        self._live.start()

    def refresh(self, tally: Tally) -> None:
        """Draw bar and lines anew."""
        if tally.layers:
            self._bar.update(self._task, completed=tally.step, figures=_figures(tally))
        self._live.update(Group(self._bar, layer_table(tally)), refresh=True)

    def evaluated(self, tally: Tally, step: int) -> None:
        """The figure stands in the bar."""

    def end(self) -> None:
        """Take the picture away; the closing table follows."""
        self._live.stop()


class PlainDisplay:
    """A line every few seconds and at each evaluation."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._due = time.monotonic() + PLAIN_SECONDS

    def begin(self, tally: Tally, threads: int) -> None:
        """The run starts."""
        self._print(_heading(tally, threads))

    def refresh(self, tally: Tally) -> None:
        """A line, where it is time for one."""
        if tally.layers and time.monotonic() >= self._due:
            self._due = time.monotonic() + PLAIN_SECONDS
            self._print(f"step {tally.step}  {_figures(tally)}")

    def evaluated(self, tally: Tally, step: int) -> None:
        """A line with the error."""
        self._print(f"step {step}  test error {tally.test_error:.2f} %")

    def end(self) -> None:
        """Nothing to take away."""

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True, markup=False)


class NoDisplay:
    """Nothing at all."""

    def begin(self, tally: Tally, threads: int) -> None:
        """Say nothing."""

    def refresh(self, tally: Tally) -> None:
        """Say nothing."""

    def evaluated(self, tally: Tally, step: int) -> None:
        """Say nothing."""

    def end(self) -> None:
        """Say nothing."""


def layer_table(tally: Tally) -> Table:
    """A line a worker: how fast, how busy, how old its gradients, how good its guesses."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("worker")
    for heading in ("updates", "samples/s", "busy", "queue", "staleness", "cosine", "drops", "MiB"):
        table.add_column(heading, justify="right")
    for name in tally.pipeline.cores:
        view = tally.layers.get(name)
        if view is not None:
            table.add_row(name, *_cells(view.report, view.rate))
    return table


def _cells(r: Report, rate: float) -> tuple[str, ...]:
    learns = r.name != "source"
    return (
        f"{r.updates:,}" if learns else "",
        f"{rate:,.0f}",
        f"{busy(r):.0%}",
        f"{r.queue}" if learns else "",
        f"{r.staleness_p50} (max {r.staleness_max})" if r.gradients else "",
        "" if r.synthetic_cosine is None else f"{r.synthetic_cosine:.2f}",
        f"{r.dropped_gradients:,}" if learns else "",
        f"{r.rss_mb:,.0f}",
    )


def choose(console: Console) -> LiveDisplay | PlainDisplay:
    """The display that fits where `console` writes to."""
    return LiveDisplay(console) if console.is_terminal else PlainDisplay(console)
