"""What a person is shown before and after a run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table

from coordinator.blas import threads
from coordinator.display import Terminal, blas_threads, layer_table
from coordinator.events import End
from coordinator.program import next_steps
from coordinator.train import Result
from protocol import Pipeline

Row = Mapping[str, Any]


class Ended(Protocol):
    """What ended somehow: a run, or many. `signal` is what interrupted it, 0 for nothing."""

    @property
    def end(self) -> End:
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
    lost = ""
    if as_json:
        try:
            print(json.dumps(result.summary), flush=True)
        except BrokenPipeError:
            pass
        except OSError as error:
            lost = f"error: the summary was not printed: {error.strerror}"
    with suppress(OSError):
        show_result(console, result)
        if lost:
            console.say(lost)
    return exit_status(result) or int(bool(lost))


def show_result(console: Terminal, result: Result) -> None:
    """The closing table, what went wrong if anything did, and where the files are."""
    summary: Row = result.summary
    if result.recorder.tally.layers:
        console.print(layer_table(result.recorder.tally))
    error, loss = summary["test_error"], summary["train_loss"]
    line = (
        f"{summary['outcome']}: {summary['steps']:,} steps in {summary['wall_seconds']:.1f} s, "
        f"{summary['samples_per_second']:,.0f} samples/s, "
        f"train loss {'-' if loss is None else f'{loss:.4g}'}, "
        f"test error {'-' if error is None else f'{error:.2f} %'}"
    )
    console.say(line)
    if result.end.text:
        console.say(f"error: {result.end.text}")
    console.say(f"files: {result.folder}")
    if result.end.outcome == "completed":
        console.say(next_steps(result.folder))


def plan_table(pipeline: Pipeline, plans: Sequence[Row]) -> Table:
    """What `dni check` shows of the layers' plans."""
    title = (
        f"{pipeline.name}: {pipeline.rule}, batch {pipeline.data.batch}, window {pipeline.window}, "
        f"{blas_threads(pipeline, threads(pipeline))}"
    )
    caption = (
        "model: parameters of the gradient model; up, down: bytes a batch on the edge below; "
        "work: share of the multiply-adds"
    )
    table = Table(
        title=escape(title),
        caption=caption,
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("layer", no_wrap=True)
    table.add_column("modules", overflow="fold")
    for heading in ("input", "output", "parameters", "model", "up KiB", "down KiB", "MiB", "work"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("worker", no_wrap=True)
    hosts = {core: name for name, cores in pipeline.processes.items() for core in cores}
    whole = sum(plan["work"] for plan in plans)
    for plan in plans:
        table.add_row(
            plan["name"],
            ", ".join(plan["modules"]),
            "x".join(map(str, plan["input"])),
            "x".join(map(str, plan["output"])),
            f"{plan['parameters']:,}",
            f"{plan['synthetic_parameters']:,}",
            f"{plan['up_bytes'] / 1024:,.0f}",
            f"{plan['down_bytes'] / 1024:,.0f}" if plan["down_bytes"] else "",
            f"{plan['memory_mb']:.0f}",
            f"{plan['work'] / whole:.0%}",
            hosts[plan["name"]],
        )
    return table


def data_table(entries: Sequence[Row]) -> Table:
    """What `dni data list` shows."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_lines=True)
    for heading in ("name", "what it is", "source", "MD5", "where it is"):
        table.add_column(heading, overflow="fold")
    for entry in entries:
        table.add_row(
            entry["name"],
            entry["description"],
            entry["source"].replace(", ", "\n"),
            "\n".join(f"{name} {md5}" for name, md5 in entry["checksums"].items()),
            _place(entry),
        )
    return table


def _place(entry: Row) -> str:
    if entry["source"] == "generated":
        return "needs no file"
    return str(entry["location"] or f"not here; dni data get {entry['name']}")


class DownloadBar:
    """pooch's protocol of a progress bar, drawn by rich; a file at a time."""

    def __init__(self, console: Console, name: str) -> None:
        self.total = 0
        self._name = name
        self._progress = Progress(
            TextColumn(name), BarColumn(), DownloadColumn(), console=console, transient=True
        )
        self._task = self._progress.add_task(name, total=None)

    def update(self, n: int) -> None:
        """`n` more bytes have come."""
        self._progress.start()
        self._progress.update(self._task, total=self.total, advance=n)

    def reset(self) -> None:
        """Start from nothing."""
        self._progress.reset(self._task)

    def close(self) -> None:
        """This file has ended."""
        self._progress.stop()


def judgement_line(found: Mapping[str, float]) -> str:
    """What `dni evaluate` found, in a line."""
    said = f"test error {found['test_error']:.2f} % ({found['errors']} of {found['judged']})"
    off = f", off by {found['absolute_error']:.2f} in all" if found["absolute_error"] else ""
    return f"{said}, loss {found['test_loss']:.4f}{off}"
