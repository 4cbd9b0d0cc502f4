"""All cores in this process, one after the other: for debugging, and as the measure of truth."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from coordinator.control.run_control import RunControl
from coordinator.lifecycle.events import RunEnd
from coordinator.observers.observer import Observers
from protocol import DataMessage, Evaluated, NonFiniteError, Report, Send, Stage, State

REPORT_SECONDS: Final = 0.5


class Metered(Protocol):
    """A core and the clock around it."""

    core: Stage

    def receive(self, sender: str, message: DataMessage) -> None:
        """Hand `message` to the core."""

    def sends(self, to: str, message: DataMessage) -> None:
        """What the core sends is about to go."""

    def close(self) -> None:
        """The core does nothing more."""

    def work(self) -> Iterator[Send]:
        """`core.work`, timed."""

    def state(self) -> State | None:
        """`core.state`."""

    def report(self, finished: bool = False) -> Report:
        """`core.report` with times and memory."""


def run_inline(
    made: Iterable[Metered], threads: int, observers: Observers, control: RunControl
) -> RunEnd:
    """Train with the workers that are `made`, in the order of the pipeline, the source first.

    They are taken from `made`, and there may be made, when the matrix library has its `threads`.
    """
    with threadpool_limits(threads), np.errstate(all="ignore"):
        workers = list(made)
        observers.workers_started()
        try:
            end = _turns(workers, observers, control)
        except OSError as error:
            end = _broken(error)
        for worker in workers:
            state = worker.state()
            worker.close()
            for message in (state, worker.report(finished=True)):
                try:
                    if message is not None:
                        observers.record(message)
                except OSError as error:
                    end = _broken(error)
    return end


def _broken(error: OSError) -> RunEnd:
    return RunEnd("failed", f"{error.filename}: {error.strerror}")


def _turns(workers: Sequence[Metered], observers: Observers, control: RunControl) -> RunEnd:
    """Give each core one turn after the other until all have finished."""
    by_name = {worker.core.name: worker for worker in workers}
    due = time.monotonic() + REPORT_SECONDS
    while not all(worker.core.finished for worker in workers):
        if observers.interrupts.count:
            return RunEnd("interrupted")
        for worker in workers:
            failure, told = _turn(worker, by_name)
            if failure:
                core = worker.core
                return RunEnd("failed", f"{core.name} failed at step {core.step}: {failure}")
            for message in told:
                observers.record(message)
        if time.monotonic() >= due:
            due = time.monotonic() + REPORT_SECONDS
            for worker in workers:
                observers.record(worker.report())
        observers.tick()
        control.poll()
    return RunEnd("completed")


def _turn(worker: Metered, workers: Mapping[str, Metered]) -> tuple[str, list[Evaluated | State]]:
    """One turn of `worker`: what went wrong, "" for nothing, and its words for the user."""
    told: list[Evaluated | State] = []
    try:
        for to, message in worker.work() if worker.core.ready else ():
            if isinstance(message, Evaluated | State):
                told.append(message)
            else:
                worker.sends(to, message)
                workers[to].receive(worker.core.name, message)
    except NonFiniteError as error:
        return str(error), told
    except Exception:
        return traceback.format_exc(), told
    return "", told
