"""The event loop of a run: messages, exits, deadlines and requests become events of the state
machine, and its effects are carried out."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from coordinator.control.run_control import RunControl
from coordinator.lifecycle.engine import Engine, Job
from coordinator.lifecycle.events import (
    DeadlineExpired,
    RecordFailed,
    RecordMessage,
    RunBroken,
    RunEffect,
    RunEvent,
    SendTo,
    SetDeadline,
    StopRequested,
    WorkerExited,
)
from coordinator.lifecycle.run import Phase, RunStateMachine
from coordinator.observers.observer import Observers
from coordinator.observers.run_end import RunEnd
from protocol import Pipeline, RunError, UserError

TICK_SECONDS: Final = 0.1
EXIT_DELAY_SECONDS: Final = 0.1
"""How long a worker's last messages may arrive after its exit is known: exits of workers on other
hosts come over the connection of their agent."""


def run_workers(job: Job, engine: Engine, observers: Observers, control: RunControl) -> RunEnd:
    """Run `job` on `engine` from its first socket to its last; `control` is served meanwhile.

    Raises OSError or UserError.
    """
    with _closed_after_error(engine):
        engine.open(job)
        control.hosts = engine
        end = EventLoop(engine, observers, control).run(job)
    control.stopping = True
    try:
        engine.close()
    except RunError as left:
        if end.outcome != "failed":
            raise
        end = end.with_failure(str(left))
    return end


@contextmanager
def _closed_after_error(engine: Engine) -> Iterator[None]:
    """Close `engine` if the block raises; of two errors of the user both texts are kept."""
    try:
        yield
    except UserError as error:
        try:
            engine.close()
        except RunError as left:
            raise type(error)(f"{error}; {left}") from None
        raise
    except BaseException:
        engine.close()
        raise


class EventLoop:
    """Feeds the state machine of one run.

    Events wait in a queue, and all effects of one are carried out before the next is handled.
    """

    def __init__(self, engine: Engine, observers: Observers, control: RunControl) -> None:
        self._engine = engine
        self._control = control
        self._observers = observers
        self._events: deque[RunEvent] = deque()
        self._exits: deque[tuple[float, WorkerExited | RunBroken]] = deque()
        self._interrupts = 0
        self._deadline: float | None = None
        self._end: RunEnd | None = None

    def run(self, job: Job) -> RunEnd:
        """Wait for hosts, start the workers, and handle events until the run is over."""
        pipeline = self._wait_for_hosts()
        if pipeline is None:
            return RunEnd("interrupted")
        self._observers.place(pipeline)
        self._engine.start(pipeline)
        self._observers.workers_started()
        run = RunStateMachine(pipeline, job.dataset, self._engine.stop_seconds)
        self._carry_out(run.begin())
        while self._end is None:
            self._collect()
            while self._events and self._end is None:
                self._carry_out(run.handle(self._events.popleft()))
            self._control.stopping = run.phase is Phase.STOPPING
            self._observers.tick()
        for event in self._events:
            if isinstance(event, RecordFailed):  # of the message that has ended the run
                self._end = self._end.with_failure(event.text)
        return self._end

    def _wait_for_hosts(self) -> Pipeline | None:
        """The pipeline as it is placed on hosts; None where a person ended the wait."""
        while not self._observers.interrupts.count:
            if (pipeline := self._engine.placed()) is not None:
                return pipeline
            for _ in self._engine.poll(TICK_SECONDS):
                pass
            self._control.poll()
        return None

    def _collect(self) -> None:
        """Queue what has happened, after waiting for at most a tick.

        The deadline is checked when all earlier events are handled, as one of them may extend it.
        """
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self._deadline = None
            self._events.append(DeadlineExpired())
            return
        self._events.extend(self._engine.poll(TICK_SECONDS))
        self._control.poll()
        now = time.monotonic()
        while self._exits and now - self._exits[0][0] >= EXIT_DELAY_SECONDS:
            self._events.append(self._exits.popleft()[1])
        self._exits.extend((now, event) for event in self._engine.exits())
        if self._observers.interrupts.count > self._interrupts:
            self._interrupts = self._observers.interrupts.count
            self._events.append(StopRequested())

    def _carry_out(self, effects: Iterator[RunEffect]) -> None:
        for effect in effects:
            match effect:
                case SendTo(name=name, message=message):
                    self._engine.send(name, message)
                case RecordMessage(message=message):
                    try:
                        self._observers.record(message)
                    except OSError as error:
                        failed = RecordFailed(f"{error.filename}: {error.strerror}")
                        self._events.appendleft(failed)  # messages behind it may end the run
                case SetDeadline(seconds=seconds):
                    self._deadline = None if seconds is None else time.monotonic() + seconds
                case RunEnd():
                    self._end = effect
