"""One run from its folder to its summary, on whatever engine."""

from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from coordinator.events import End
from coordinator.record import Recorder
from coordinator.watch import Display, Watch, interrupts
from protocol import Pipeline, RunError, UserError

Drive: TypeAlias = Callable[[Watch], End]
"""What trains: an engine, given those who watch."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended. `signal` is what interrupted it, 0 for nothing."""

    folder: Path
    summary: dict[str, object]
    end: End
    signal: int
    recorder: Recorder


def train(
    pipeline: Pipeline, folder: Path, engine: str, threads: int, drive: Drive, display: Display
) -> Result:
    """Drive a run of `pipeline` and record it in `folder`; `engine` is what `drive` is called.

    Raises RunError where the folder cannot be written. A run that fails is a Result.
    """
    with interrupts() as seen:
        try:
            recorder = Recorder(folder, pipeline)
        except OSError as error:
            raise RunError(_words(error, folder)) from error
        watch = Watch(recorder, display, seen)
        watch.begin(threads)
        began = _processor_seconds()
        try:
            end = drive(watch)
        except (OSError, UserError) as error:
            end = End("failed", _words(error, folder), user=isinstance(error, UserError))
        finally:
            watch.end()
        own = _processor_seconds() - began
        try:
            extra = {"engine": engine, "threads": threads, "coordinator_cpu_seconds": own}
            summary = recorder.finish(end, extra)
        except OSError as error:
            end = End("failed", _words(error, folder))
            summary = recorder.tally.summary(end.outcome, recorder.seconds)
    return Result(folder, summary, end, seen.signal, recorder)


def _words(error: OSError | UserError, folder: Path) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or folder}: {error.strerror}"
    return str(error)


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
