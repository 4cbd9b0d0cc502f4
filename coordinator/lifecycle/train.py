"""One run from its folder to its summary, on whatever engine."""

from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from coordinator.lifecycle.events import RunEnd
from coordinator.observers.observer import Display, Watch, interrupts
from coordinator.observers.recorder import Recorder
from coordinator.run_folder import RunFolder
from protocol import Pipeline, RunError, UserError

Drive: TypeAlias = Callable[[Watch], RunEnd]
"""What trains: an engine, given those who watch."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended. `signal` is what interrupted it, 0 for nothing.

    It is `kept` in `folder` unless it was interrupted before its workers had started.
    """

    folder: Path
    summary: dict[str, object]
    end: RunEnd
    signal: int
    recorder: Recorder
    kept: bool = True


def train(
    pipeline: Pipeline, folder: RunFolder, engine: str, threads: int, drive: Drive, display: Display
) -> Result:
    """Drive a run of `pipeline` and record it in `folder`; `engine` is what `drive` is called.

    A run that fails is a Result. Raises UserError where its workers cannot even be started; then
    the folder is as it was before.
    """
    with interrupts() as seen:
        recorder = _recorder(folder, pipeline)
        watch = Watch(folder, recorder, display, seen)
        watch.begin(threads)
        began = _processor_seconds()
        try:
            end = drive(watch)
        except (OSError, UserError) as error:
            if not folder.begun:
                recorder.close()
                folder.undo()
                raise _mistake(error, folder.path) from error
            end = RunEnd("failed", _words(error, folder.path), user=isinstance(error, UserError))
        finally:
            watch.end()
        own = _processor_seconds() - began
        try:
            extra = {"engine": engine, "threads": threads, "coordinator_cpu_seconds": own}
            summary = recorder.finish(end, extra)
        except OSError as error:
            end = RunEnd("failed", _words(error, folder.path))
            summary = recorder.tally.summary(end.outcome, recorder.seconds)
        if not folder.begun:  # interrupted before there was anything to keep
            folder.undo()
    return Result(folder.path, summary, end, seen.signal, recorder, folder.begun)


def _recorder(folder: RunFolder, pipeline: Pipeline) -> Recorder:
    try:
        return Recorder(folder.open(), pipeline)
    except OSError as error:
        folder.undo()
        raise _mistake(error, folder.path) from error


def _mistake(error: OSError | UserError, folder: Path) -> UserError:
    return error if isinstance(error, UserError) else RunError(_words(error, folder))


def _words(error: OSError | UserError, folder: Path) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or folder}: {error.strerror}"
    return str(error)


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
