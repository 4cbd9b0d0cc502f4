"""What a person is shown before and after a run."""

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
from coordinator.engines.blas import threads
from coordinator.lifecycle.train import Result
from coordinator.observers.run_end import RunEnd
from coordinator.observers.terminal import blas_threads, layer_table
from protocol import Pipeline
from protocol.printable import printable

BAR_SECONDS: Final = 0.1
Row = Mapping[str, Any]


class Ended(Protocol):
    """What ended somehow: a run, or many. `signal` is what interrupted it, 0 for nothing."""

    @property
    def end(self) -> RunEnd:
        """The outcome, and what explains it."""

    @property
    def signal(self) -> int:
        """What interrupted it, 0 for nothing."""


def exit_status(result: Ended) -> int:
    """0 done, 1 failed, 2 the user's mistake, 128 + the signal where one ended it."""
    if result.end.outcome == "interrupted":
        return 128 + result.signal
    if result.end.outcome == "failed":
        return 2 if result.end.user else 1
    return 0


def end_of_run(console: Terminal, result: Result, as_json: bool) -> int:
    """Show how a run ended; the exit status, which is 1 where JSON was lost.

    The run is done, whoever can read of it; a reader who went away wants no more.
    """
    lost = json_lost(result.summary, "summary") if as_json else ""
    with suppress(OSError, ValueError):
        show_result(console, result)
    return ended(console, result, lost)


def json_lost(value: object, what: str) -> str:
    """Print `value`; what is wrong if that could not be, unless it is that the reader went away."""
    try:
        print_json(value)
    except BrokenPipeError:
        discard_closed_outputs()
    except OSError as error:
        discard_output()
        return f"error: the {what} was not printed: {error.strerror}"
    return ""


def ended(console: Terminal, result: Ended, lost: str) -> int:
    """Say what was `lost` of the output; the exit status, which is 1 then."""
    if lost:
        console.try_print(lost)
    return exit_status(result) or int(bool(lost))


def show_result(console: Terminal, result: Result) -> None:
    """The closing table, what went wrong if anything did, and where the files are."""
    if not result.kept:
        console.print_text("interrupted before training began: nothing is kept")
        return
    summary: Row = result.summary
    if result.stats.layers:
        console.show(layer_table(result.stats))
    error, loss = summary["test_error"], summary["train_loss"]
    seconds = f"{summary['wall_seconds']:.1f} s"
    said = (
        f"{summary['outcome']}: {summary['steps']:,} steps in {seconds}",
        f"{summary['samples_per_second']:,.0f} samples/s",
        f"train loss {'-' if loss is None else f'{loss:.4g}'}",
        f"test error {'-' if error is None else f'{error:.2f} %'}",
    )
    console.show(Phrases(said))
    if result.end.text:
        console.print_text(f"error: {result.end.text}")
    console.print_text(f"files: {printable(str(result.folder))}")
    if result.end.outcome == "completed":
        console.print_text(next_steps(result.folder, console.encoding))


def plan_table(pipeline: Pipeline, plans: Sequence[Row]) -> RenderableType:
    """What `dni check` shows of the layers' plans."""
    batch, window = f"batch {pipeline.data.batch}", f"window {pipeline.window}"
    blas = blas_threads(pipeline, threads(pipeline))
    title = Phrases((f"{pipeline.name}: {pipeline.rule}", batch, window, blas))
    notes = Phrases(
        (
            "model: parameters of the gradient model",
            "up, down: bytes a batch on the edge below",
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
    hosts = {core: name for name, cores in pipeline.workers.items() for core in cores}
    whole = sum(plan["work"] for plan in plans)
    rows = [_planned(plan, whole, hosts[plan["name"]]) for plan in plans]
    return Group(title, Table(columns, rows, [notes]))


def _planned(plan: Row, whole: int, worker: str) -> list[str | Phrases]:
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
        f"{plan['work'] / whole:.0%}",
        worker,
    ]


def data_list(entries: Sequence[Row]) -> RenderableType:
    """What `dni data list` shows: some lines a data set, for URLs and paths are long and whole."""
    parts: list[RenderableType] = []
    for entry in entries:
        sources = [("source:", url) for url in entry["source"].split(", ")]
        sums = [(f"MD5 of {name}:", md5) for name, md5 in entry["checksums"].items()]
        parts.append(line(entry["name"], "bold"))
        parts.append(Phrases(entry["description"].split(", "), indent="  "))
        here = ("here:", _place(entry))
        parts += [Phrases(s, " ", indent="  ", hang="  ") for s in (*sources, *sums, here)]
    return Group(*parts)


def _place(entry: Row) -> str:
    if entry["source"] == "generated":
        return "it needs no file"
    return str(entry["location"] or f"no; dni data get {entry['name']} downloads it")


class DownloadBar:
    """pooch's protocol of a progress bar, drawn by rich; a file at a time.

    A bar that cannot be drawn is no reason to end a download.
    """

    def __init__(self, console: Terminal, name: str) -> None:
        self.total = 0
        self._shown = console.interactive
        self._due = 0.0
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
        """`n` more bytes have come."""
        self._progress.update(self._task, total=self.total, advance=n)
        if self._shown and time.monotonic() >= self._due:
            self._due = time.monotonic() + BAR_SECONDS
            with suppress(OSError, ValueError):
                self._progress.start()
                self._progress.refresh()

    def reset(self) -> None:
        """Start from nothing."""
        self._progress.reset(self._task)

    def close(self) -> None:
        """This file has ended."""
        with suppress(OSError, ValueError):
            self._progress.stop()


def judgement_line(found: Mapping[str, float]) -> Phrases:
    """What `dni evaluate` found, in a sentence."""
    said = f"test error {found['test_error']:.2f} % ({found['errors']} of {found['judged']})"
    absolute, loss = found["absolute_error"], found["test_loss"]
    off = [f"off by {absolute:.2f} in all"] if absolute and math.isfinite(absolute) else []
    return Phrases((said, f"loss {loss:.4f}" if math.isfinite(loss) else "loss -", *off))
