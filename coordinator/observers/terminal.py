"""What a person sees of a run: a live picture on a terminal, plain lines on a pipe."""

from __future__ import annotations

import os
import re
import sys
import time
from contextlib import suppress
from typing import IO, Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from coordinator.console.columns import Column, Phrases, Table
from coordinator.console.standard_streams import forgive
from coordinator.engines.blas import reason
from coordinator.observers.run_stats import Tally, busy
from protocol import Pipeline, Report

PLAIN_SECONDS: Final = 5.0
PIPE_COLUMNS: Final = 120
"""How wide a picture is where there is no terminal."""
ENDLESS: Final = 1 << 20
"""How wide text is there: nothing is broken or left out."""
AROUND: Final = 6
"""Lines of a terminal that a table of layers under a progress bar leaves to others."""
_SIZE: Final = re.compile(r"0*[1-9]\d{0,3}", re.ASCII)
"""What COLUMNS and LINES may say; with 0 everything would be left out without a word."""
_MARK: Final = "  | "
_HANG: Final = "    "
_PARTED: Final = re.compile("(?<=[,:;]) ")


class Terminal(Console):
    """Where a person reads; wide enough for everything where it is no terminal.

    A reader who goes away silences it, and nothing more: the run goes on. Text is never markup,
    and what the terminal cannot encode is spelled with what it can.
    """

    def __init__(self, stderr: bool = False) -> None:
        forgive(sys.stderr if stderr else sys.stdout)
        super().__init__(
            stderr=stderr, emoji=False, markup=False, highlight=False, _environ=_environment()
        )
        self.interactive = self.is_terminal and _isatty(self.file)
        self.picture_width = self.width if self.interactive else PIPE_COLUMNS
        if not self.interactive:
            self.width = ENDLESS

    @property
    def encoding(self) -> str:
        """Of what it writes to."""
        return (getattr(self.file, "encoding", None) or "utf-8").lower()

    def say(self, text: str) -> None:
        """Print `text` with visible escapes for what is no text, each line after the first marked.

        So no text from elsewhere can pass for a line of ours. A line that is too long for a
        terminal is broken after a comma, colon or semicolon alone, so that numbers keep their
        units, and what is copied stays whole.
        """
        for number, part in enumerate(text.rstrip("\n").split("\n")):
            phrases = _PARTED.split(part)
            self.show(Phrases(phrases, " ", indent=_MARK if number else "", hang=_HANG))

    def tell(self, text: str) -> None:
        """Say `text`, which nothing hangs on: where it cannot be written that is passed over."""
        with suppress(OSError, ValueError):
            self.say(text)

    def show(self, *what: RenderableType) -> None:
        """Print tables, sentences and pictures; a line that is too wide is not cut."""
        self.print(*what, crop=False)

    def on_broken_pipe(self) -> None:
        """Say nothing from here on."""
        self.quiet = True


def _environment() -> dict[str, str]:
    """The environment, without a size of the terminal that cannot be."""
    sizes = {name for name in ("COLUMNS", "LINES") if not _SIZE.fullmatch(os.environ.get(name, ""))}
    return {name: value for name, value in os.environ.items() if name not in sizes}


def _isatty(file: IO[str]) -> bool:
    try:
        return file.isatty()
    except (AttributeError, ValueError):  # it is closed, or no file
        return False


def _figures(tally: Tally) -> Phrases:
    loss = "-" if tally.loss is None else f"{tally.loss:.4g}"
    error = "-" if tally.test_error is None else f"{tally.test_error:.2f} %"
    rate = f"{tally.samples_per_second:,.0f} samples/s"
    return Phrases((f"loss {loss}", f"test error {error}", rate), "  ")


def blas_threads(pipeline: Pipeline, count: int) -> str:
    """How many threads a worker computes with, and why; 0 for what its own machine has."""
    if not count:
        return "its machine's BLAS threads a worker"
    why = reason(pipeline)
    text = f"{count} BLAS {'thread' if count == 1 else 'threads'} a worker"
    return f"{text} ({why})" if why else text


def _heading(tally: Tally, threads: int) -> Phrases:
    p = tally.pipeline
    batch, steps = f"batch {p.data.batch}", f"{p.train.steps} steps"
    rest = (p.train.schedule, f"{len(p.layer)} layers", batch, steps)
    return Phrases((f"{p.name}: {p.rule}", *rest, blas_threads(p, threads)))


class LiveDisplay:
    """A progress bar, the figures of the run and a line a layer under it."""

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

    def begin(self, tally: Tally, threads: int) -> None:
        """The run starts."""
        self._console.print(_heading(tally, threads), crop=False)
        self._task = self._bar.add_task("", total=tally.pipeline.train.steps)
        self._live.start()

    def refresh(self, tally: Tally) -> None:
        """Draw bar and lines anew."""
        parts: list[RenderableType] = [self._bar]
        if tally.layers:
            self._bar.update(self._task, completed=tally.step)
            room = self._console.size.height - AROUND
            parts += [_figures(tally), *([layer_table(tally, room)] if room > 0 else [])]
        else:
            parts.append(Phrases(["starting the workers"]))
        self._live.update(Group(*parts), refresh=True)

    def evaluated(self, tally: Tally, step: int) -> None:
        """The figure stands under the bar."""

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
            figures = _figures(tally)
            self._print(Phrases((f"step {tally.step}", *figures.phrases), figures.between))

    def evaluated(self, tally: Tally, step: int) -> None:
        """A line with the error."""
        self._print(Phrases((f"step {step}", f"test error {tally.test_error:.2f} %"), "  "))

    def end(self) -> None:
        """Nothing to take away."""

    def _print(self, said: Phrases) -> None:
        self._console.print(said, crop=False)


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


_LAYER_COLUMNS: Final = (
    Column("worker", left=True),
    Column("updates", 2),
    Column("samples/s"),
    Column("busy", 1),
    Column("queue", 6),
    Column("staleness", 3),
    Column("cosine", 4),
    Column("drops", 5),
    Column("MiB", 7),
)


def layer_table(tally: Tally, most: int | None = None) -> Table:
    """A line a worker: how fast, how busy, how old its gradients, how good its guesses.

    Of more than `most` the first are there: the picture of a run that goes on has no more room,
    and the table at its end has them all.
    """
    views = [(name, tally.layers[name]) for name in tally.pipeline.cores if name in tally.layers]
    rows = [(name, *_cells(view.report, view.rate)) for name, view in views[:most]]
    if most is None:
        return Table(_LAYER_COLUMNS, rows, wider="use a wider terminal or see metrics.jsonl")
    left = len(views) - len(rows)
    notes = [Phrases([f"{left} more workers; the end shows all"])] if left > 0 else []
    return Table(_LAYER_COLUMNS, rows, notes, wider="")


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


def choose(console: Terminal) -> LiveDisplay | PlainDisplay:
    """The display that fits where `console` writes to."""
    moves = console.interactive and not console.is_dumb_terminal
    return LiveDisplay(console) if moves else PlainDisplay(console)
