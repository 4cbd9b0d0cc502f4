"""One run from its folder to its summary, on any engine."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from coordinator.control.run_control import RunControl
from coordinator.interrupts import InterruptCounter, count_interrupts
from coordinator.lifecycle.engine import Engine, Job
from coordinator.lifecycle.loop import run_workers
from coordinator.observers.observer import Observer, Observers
from coordinator.observers.recorder import RunRecorder
from coordinator.observers.run_end import RunEnd
from coordinator.observers.run_stats import RunStats
from coordinator.run_folder.create import RunFolder
from coordinator.socket_folder import socket_folder
from protocol import Pipeline, RunError, UserError


@dataclass(frozen=True, slots=True)
class Plan:
    """A run that has been checked and not started.

    `dataset` and `work` are those of `coordinator.lifecycle.engine.Job`, `engine` is the name that
    the summary has for the engine.
    """

    pipeline: Pipeline
    dataset: dict[str, object] | None
    work: Mapping[str, float]
    folder: RunFolder
    engine: str


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended. `signal` is the signal that interrupted it, 0 for none.

    The run is `kept` in `folder` unless it was interrupted before its workers had started.
    """

    folder: Path
    summary: dict[str, object]
    end: RunEnd
    signal: int
    stats: RunStats
    kept: bool = True


def train(
    plan: Plan, engine: Engine, report: Callable[[str], None], others: Sequence[Observer] = ()
) -> Result:
    """Run `plan` on `engine` and record it; `report` takes lines for a person.

    The observers `others` receive the events of the run too. A run that fails is a Result. Raises
    UserError if the workers cannot be started; then the folder is as it was before.
    """
    folder = plan.folder
    with count_interrupts() as interrupts, closing(socket_folder()) as sockets:
        recorder = _recorder(folder, plan.pipeline)
        with _rolled_back_on_error(folder, recorder):
            observers = Observers(plan.pipeline, folder, recorder, others, interrupts)
            threads = engine.threads(plan.pipeline)
            began = _processor_seconds()
            end = _run(plan, engine, report, observers, sockets.path, threads)
        seconds = _processor_seconds() - began
        extra = {"engine": plan.engine, "threads": threads, "coordinator_cpu_seconds": seconds}
        result = _finish(folder, recorder, observers.stats, end, extra, interrupts)
        if not folder.committed:  # the run was interrupted before its workers started
            folder.rollback()
    return result


@contextmanager
def _rolled_back_on_error(folder: RunFolder, recorder: RunRecorder) -> Iterator[None]:
    """Undo the folder if the block raises before the workers have started.

    Raises RunError in place of an OSError.
    """
    try:
        yield
    except BaseException as error:
        recorder.close()
        if not folder.committed:
            folder.rollback()
        if isinstance(error, OSError):
            raise RunError(_text(error, folder.path)) from error
        raise


def _run(
    plan: Plan,
    engine: Engine,
    report: Callable[[str], None],
    observers: Observers,
    sockets: Path,
    threads: int,
) -> RunEnd:
    """Run the workers; an error after they have started is the end of the run."""
    observers.begin(threads)
    try:
        return _run_controlled(plan, engine, report, observers, sockets)
    except (OSError, UserError) as error:
        if not observers.committed:
            raise
        text = _text(error, observers.folder)
        return RunEnd("failed", text, user=isinstance(error, UserError))
    finally:
        observers.end()


def _run_controlled(
    plan: Plan,
    engine: Engine,
    report: Callable[[str], None],
    observers: Observers,
    sockets: Path,
) -> RunEnd:
    """Run the workers; the control socket answers meanwhile."""
    folder, stats, interrupts = observers.folder, observers.stats, observers.interrupts
    control = RunControl(sockets, folder, stats, interrupts, cluster=not engine.one_host)
    try:
        job = Job(plan.pipeline, plan.dataset, plan.work, folder, sockets, report, control.poll)
        return run_workers(job, engine, observers, control)
    finally:
        control.close()


def _finish(
    folder: RunFolder,
    recorder: RunRecorder,
    stats: RunStats,
    end: RunEnd,
    extra: dict[str, object],
    interrupts: InterruptCounter,
) -> Result:
    """Write the summary; if the disk refuses it, the run has failed."""
    summary = stats.summary(end.outcome, recorder.seconds)
    summary |= {**extra, "failure": end.text or None}
    try:
        recorder.finish(summary)
    except OSError as error:
        end = end.with_failure(_text(error, folder.path))
        summary |= {"outcome": end.outcome, "failure": end.text}
    return Result(folder.path, summary, end, interrupts.signal, stats, folder.committed)


def _recorder(folder: RunFolder, pipeline: Pipeline) -> RunRecorder:
    try:
        return RunRecorder(folder.create(), pipeline)
    except OSError as error:
        folder.rollback()
        raise RunError(_text(error, folder.path)) from error


def _text(error: OSError | UserError, folder: Path) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or folder}: {error.strerror}"
    return str(error)


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
