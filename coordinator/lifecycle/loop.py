"""The coordinator's process: sockets, timers and children become events, effects become acts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final, Protocol

from coordinator.control.run_control import RunControl
from coordinator.lifecycle.events import (
    DeadlineExpired,
    RecordMessage,
    RunBroken,
    RunEnd,
    RunEvent,
    SendTo,
    SetDeadline,
    StopRequested,
    WorkerExited,
)
from coordinator.lifecycle.run import STOP_SECONDS, RunStateMachine
from coordinator.observers.observer import Observers
from protocol import Pipeline, ToCoordinator, ToWorker

TICK_SECONDS: Final = 0.1
LAST_WORDS_SECONDS: Final = 0.1
"""How long after its end a worker's last messages may still be under way: they come on another
line than the word of its end, which an agent gives."""


class Wires(Protocol):
    """The line to all workers; see `coordinator.transport.CoordinatorTransport`."""

    def send(self, name: str, message: ToWorker) -> None:
        """Hand `message` over for the worker `name`."""

    def poll(self, seconds: float) -> Iterator[ToCoordinator]:
        """What has arrived."""

    def close(self) -> None:
        """Nothing more is said."""


class Engine(Protocol):
    """Where workers live. Another engine needs these words and nothing else."""

    def links(self, pipeline: Pipeline) -> Wires:
        """The line to all workers. Raises OSError where there can be none."""

    def start(self, pipeline: Pipeline) -> None:
        """Start the workers of `pipeline.workers`, each with an inbox for every edge into it."""

    def exits(self) -> Iterator[WorkerExited | RunBroken]:
        """The workers that ended since the last call, and why else the run cannot go on."""

    def close(self) -> None:
        """See to it that nothing is left of any worker."""


def run_processes(
    pipeline: Pipeline,
    info: dict[str, object] | None,
    engine: Engine,
    observers: Observers,
    control: RunControl,
    stop_seconds: float = STOP_SECONDS,
) -> RunEnd:
    """Train with the source and the layers in the processes that `pipeline` divides them into.

    Who is asked to stop has `stop_seconds` to send its weights. `control` is served meanwhile.
    """
    try:
        links = engine.links(pipeline)
        try:
            engine.start(pipeline)
            observers.workers_started()
            run = RunStateMachine(pipeline, info, stop_seconds)
            return _Conductor(run, engine, links, observers, control).conduct()
        finally:
            links.close()
    finally:
        engine.close()


class _Conductor:
    def __init__(
        self,
        run: RunStateMachine,
        engine: Engine,
        links: Wires,
        observers: Observers,
        control: RunControl,
    ) -> None:
        self._run = run
        self._engine = engine
        self._links = links
        self._observers = observers
        self._control = control
        self._deadline: float | None = None
        self._end: RunEnd | None = None

    def conduct(self) -> RunEnd:
        """Handle events until the run is over."""
        self._act(self._run.begin())
        interrupts = 0
        exited: list[tuple[float, WorkerExited | RunBroken]] = []
        while self._end is None:
            for message in self._links.poll(TICK_SECONDS):
                self._handle(message)
            now = time.monotonic()
            while exited and now - exited[0][0] >= LAST_WORDS_SECONDS:
                self._handle(exited.pop(0)[1])
            exited += [(now, event) for event in self._engine.exits()]
            if self._observers.interrupts.count > interrupts:
                interrupts = self._observers.interrupts.count
                self._handle(StopRequested())
            if self._deadline is not None and time.monotonic() >= self._deadline:
                self._deadline = None
                self._handle(DeadlineExpired())
            self._observers.tick()
            self._control.poll()
        return self._end

    def _handle(self, event: RunEvent) -> None:
        self._act(self._run.handle(event))

    def _act(self, effects: Iterator[object]) -> None:
        for effect in effects:
            match effect:
                case SendTo(name=name, message=message):
                    self._links.send(name, message)
                case RecordMessage(message=message):
                    try:
                        self._observers.record(message)
                    except OSError as error:
                        self._handle(RunBroken(f"{error.filename}: {error.strerror}"))
                case SetDeadline(seconds=None):
                    self._deadline = None
                case SetDeadline(seconds=float(seconds)):
                    self._deadline = time.monotonic() + seconds
                case RunEnd():
                    self._end = effect
