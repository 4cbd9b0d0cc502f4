"""One run from its folder to its summary, on whatever engine."""

from __future__ import annotations

import resource
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from coordinator.control.run_control import RunControl
from coordinator.interrupts import InterruptCounter, count_interrupts
from coordinator.lifecycle.events import RunEnd
from coordinator.observers.observer import Observer, Observers
from coordinator.observers.recorder import Recorder
from coordinator.observers.run_stats import RunStats
from coordinator.run_folder.create import RunFolder
from coordinator.socket_folder import socket_folder
from protocol import Pipeline, RunError, UserError

ON_THIS_HOST: Final = ("local", "inline")
"""The engines that run all workers on this host."""
Drive: TypeAlias = Callable[[Observers, RunControl], RunEnd]
"""Trains on an engine, reports all events to the observers, and serves the control socket."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended. `signal` is what interrupted it, 0 for nothing.

    It is `kept` in `folder` unless it was interrupted before its workers had started.
    """

    folder: Path
    summary: dict[str, object]
    end: RunEnd
    signal: int
    stats: RunStats
    kept: bool = True


def train(
    pipeline: Pipeline,
    folder: RunFolder,
    engine: str,
    threads: int,
    drive: Drive,
    others: Sequence[Observer] = (),
) -> Result:
    """Run `pipeline` with `drive`, which belongs to `engine`, and record the run in `folder`.

    The observers `others` receive the events of the run too. A run that fails is a Result. Raises
    UserError if the workers cannot be started; then the folder is as it was before.
    """
    with count_interrupts() as interrupts, closing(socket_folder()) as sockets:
        recorder = _recorder(folder, pipeline)
        observers = Observers(pipeline, folder, recorder, others, interrupts)
        control = _control(sockets.path, folder, observers, engine)
        observers.begin(threads)
        began = _processor_seconds()
        try:
            end = drive(observers, control)
        except (OSError, UserError) as error:
            if not folder.committed:
                recorder.close()
                folder.rollback()
                raise _mistake(error, folder.path) from error
            end = RunEnd("failed", _words(error, folder.path), user=isinstance(error, UserError))
        finally:
            observers.end()
            control.close()
        seconds = _processor_seconds() - began
        extra = {"engine": engine, "threads": threads, "coordinator_cpu_seconds": seconds}
        result = _finish(folder, recorder, observers.stats, end, extra, interrupts)
        if not folder.committed:  # the run was interrupted before its workers started
            folder.rollback()
    return result


def _finish(
    folder: RunFolder,
    recorder: Recorder,
    stats: RunStats,
    end: RunEnd,
    extra: dict[str, object],
    interrupts: InterruptCounter,
) -> Result:
    summary = stats.summary(end.outcome, recorder.seconds)
    summary |= {**extra, "failure": end.text or None}
    try:
        recorder.finish(summary)
    except OSError as error:
        end = RunEnd("failed", _words(error, folder.path))
        summary = stats.summary(end.outcome, recorder.seconds)
    return Result(folder.path, summary, end, interrupts.signal, stats, folder.committed)


def _recorder(folder: RunFolder, pipeline: Pipeline) -> Recorder:
    try:
        return Recorder(folder.create(), pipeline)
    except OSError as error:
        folder.rollback()
        raise _mistake(error, folder.path) from error


def _control(sockets: Path, folder: RunFolder, observers: Observers, engine: str) -> RunControl:
    cluster = engine not in ON_THIS_HOST
    try:
        return RunControl(
            sockets, folder.path, observers.stats, observers.interrupts, cluster=cluster
        )
    except OSError as error:
        observers.end()
        folder.rollback()
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
