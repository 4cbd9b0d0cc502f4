"""Tables and sentences before and after a run."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from rich.console import Group, RenderableType
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from coordinator.console.columns import Column, Phrases, Table, line
from coordinator.console.command_line import next_steps
from coordinator.console.json_output import print_json
from coordinator.console.standard_streams import discard_closed_outputs, discard_output
from coordinator.console.terminal import Terminal
from coordinator.lifecycle.train import Result
from coordinator.observers.run_end import RunEnd
from coordinator.observers.terminal import blas_threads, layer_table
from coordinator.resources.blas import threads
from protocol import Pipeline
from protocol.printable import printable

_BAR_SECONDS: Final = 0.1
Row = Mapping[str, Any]


class HasEnd(Protocol):
    """The result of a run or of a comparison."""

    @property
    def end(self) -> RunEnd:
        """The outcome and its explanation."""

    @property
    def signal(self) -> int:
        """The number of the signal that interrupted it, or 0."""


def exit_status(result: HasEnd) -> int:
    """0: completed, 1: failed, 2: a mistake of the user, 128 + the signal: interrupted."""
    if result.end.outcome == "interrupted":
        return 128 + result.signal
    if result.end.outcome == "failed":
        return 2 if result.end.user else 1
    return 0


def end_of_run(console: Terminal, result: Result, as_json: bool) -> int:
    """Show the result of a run; return the exit status, which is 1 if JSON was not printed.

    A closed pipe is not an error: its reader needs no more output.
    """
    failure = json_failure(result.summary, "summary") if as_json else ""
    with suppress(OSError, ValueError):
        show_result(console, result)
    return finish_output(console, result, failure)


def json_failure(value: object, name: str) -> str:
    """Print `value` as JSON; return an error line if that fails, "" if it succeeds.

    A closed pipe counts as success. `name` is the name of the value in the error line.
    """
    try:
        print_json(value)
    except BrokenPipeError:
        discard_closed_outputs()
    except OSError as error:
        discard_output()
        return f"error: the {name} was not printed: {error.strerror}"
    return ""


def finish_output(console: Terminal, result: HasEnd, failure: str) -> int:
    """Print the `failure` of the output, if any; return the exit status, which is then not 0."""
    if failure:
        console.try_print(failure)
    return exit_status(result) or int(bool(failure))


def show_result(console: Terminal, result: Result) -> None:
    """Show the closing table, the error if there is one, and the folder of the run."""
    if not result.kept:
        console.print_text("interrupted before training began; no files were kept")
        return
    summary: Row = result.summary
    if result.stats.layers:
        console.show(layer_table(result.stats))
    error, loss = summary["test_error"], summary["train_loss"]
    seconds = f"{summary['wall_seconds']:.1f} s"
    phrases = (
        f"{summary['outcome']}: {summary['steps']:,} steps in {seconds}",
        f"{summary['samples_per_second']:,.0f} samples/s",
        f"train loss {'-' if loss is None else f'{loss:.4g}'}",
        f"test error {'-' if error is None else f'{error:.2f} %'}",
    )
    console.show(Phrases(phrases))
    if result.end.text:
        console.print_text(f"error: {result.end.text}")
    console.print_text(f"files: {printable(str(result.folder))}")
    if result.end.outcome == "completed":
        console.print_text(next_steps(result.folder, console.encoding))


def plan_table(pipeline: Pipeline, plans: Sequence[Row]) -> RenderableType:
    """The table of `dni check`."""
    batch, window = f"batch {pipeline.data.batch}", f"window {pipeline.window}"
    blas = blas_threads(pipeline, threads(pipeline))
    title = Phrases((f"{pipeline.name}: {pipeline.rule}", batch, window, blas))
    notes = Phrases(
        (
            "model: parameters of the gradient model",
            "up, down: bytes per batch on the edge below",
            "work: share of the multiply-adds",
        ),
        "; ",
    )
    columns = (
        Column("layer", left=True),
        Column("modules", left=True),
        Column("input", 6),
        Column("output", 4),
        Column("parameters"),
        Column("model", 5),
        Column("up KiB", 7),
        Column("down KiB", 8),
        Column("MiB", 1),
        Column("work", 3),
        Column("worker", 2 if pipeline.placement else 9, left=True),
    )
    workers = {stage: name for name, held in pipeline.workers.items() for stage in held}
    total = sum(plan["work"] for plan in plans)
    rows = [_plan_cells(plan, total, workers[plan["name"]]) for plan in plans]
    return Group(title, Table(columns, rows, [notes]))


def _plan_cells(plan: Row, total: int, worker: str) -> list[str | Phrases]:
    return [
        plan["name"],
        Phrases(plan["modules"]),
        "x".join(map(str, plan["input"])),
        "x".join(map(str, plan["output"])),
        f"{plan['parameters']:,}",
        f"{plan['synthetic_parameters']:,}",
        f"{plan['up_bytes'] / 1024:,.0f}",
        f"{plan['down_bytes'] / 1024:,.0f}" if plan["down_bytes"] else "",
        f"{plan['memory_mb']:.0f}",
        f"{plan['work'] / total:.0%}",
        worker,
    ]


def data_list(entries: Sequence[Row]) -> RenderableType:
    """The output of `dni data list`: several lines per data set, so that no URL is cut."""
    parts: list[RenderableType] = []
    for entry in entries:
        sources = [("source:", url) for url in entry["source"].split(", ")]
        sums = [(f"MD5 of {name}:", md5) for name, md5 in entry["checksums"].items()]
        parts.append(line(entry["name"], "bold"))
        parts.append(Phrases(entry["description"].split(", "), indent="  "))
        location = ("here:", _location_text(entry))
        parts += [Phrases(s, " ", indent="  ", hang="  ") for s in (*sources, *sums, location)]
    return Group(*parts)


def _location_text(entry: Row) -> str:
    if entry["source"] == "generated":
        return "generated; needs no file"
    return str(entry["location"] or f"no; dni data get {entry['name']} downloads it")


class DownloadBar:
    """A progress bar for one file at a time, with the interface that pooch requires.

    A bar that cannot be drawn does not end the download.
    """

    def __init__(self, console: Terminal, name: str) -> None:
        self.total = 0
        self._shown = console.interactive
        self._next_refresh = 0.0
        self._progress = Progress(
            TextColumn(name, markup=False),
            BarColumn(),
            DownloadColumn(),
            console=console,
            transient=True,
            auto_refresh=False,
        )
        self._task = self._progress.add_task(name, total=None)

    def update(self, n: int) -> None:
        """Add `n` bytes to the progress."""
        self._progress.update(self._task, total=self.total, advance=n)
        if self._shown and time.monotonic() >= self._next_refresh:
            self._next_refresh = time.monotonic() + _BAR_SECONDS
            with suppress(OSError, ValueError):
                self._progress.start()
                self._progress.refresh()

    def reset(self) -> None:
        """Set the progress to 0."""
        self._progress.reset(self._task)

    def close(self) -> None:
        """Remove the bar: the file is complete."""
        with suppress(OSError, ValueError):
            self._progress.stop()


def judgement_line(found: Mapping[str, float]) -> Phrases:
    """The result of `dni evaluate` in a sentence."""
    error = f"test error {found['test_error']:.2f} % ({found['errors']} of {found['judged']})"
    absolute, loss = found["absolute_error"], found["test_loss"]
    off = [f"absolute error {absolute:.2f}"] if absolute and math.isfinite(absolute) else []
    return Phrases((error, f"loss {loss:.4f}" if math.isfinite(loss) else "loss -", *off))
