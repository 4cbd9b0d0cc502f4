"""The inline engine: all workers take turns in this process, for debugging and for comparisons.

The workers speak the same dialogue with the same state machine as processes do; only their messages
are passed on by calls.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from typing import Final, TypeAlias, cast

import numpy as np
from threadpoolctl import threadpool_limits

from coordinator.control.snapshot import LocalHost
from coordinator.lifecycle.engine import ENGINE_API, Job, require_local_data
from coordinator.lifecycle.events import RunBroken, WorkerExited
from coordinator.lifecycle.run import STOP_SECONDS
from coordinator.resources import blas
from coordinator.run_folder.layout import TRACE
from protocol import DataMessage, Edge, Message, Pipeline, ToCoordinator, ToWorker

IDLE_SECONDS: Final = 0.005
"""The pause when no worker has anything to do, because data are being read."""


Turns: TypeAlias = Generator[bool, None, None]
"""The turns of a worker: each does at most one unit of work, and says whether more can be done."""
MakeWorker: TypeAlias = "Callable[[str, InlineChannel, str], Turns]"
"""Makes the worker of a name with its channel; the text is the folder for traces."""


class InlineChannel:
    """The transport of one worker; implements `workers.channel.WorkerChannel`."""

    lossless = True  # a credit that is sent again would make results depend on timing

    def __init__(self, channels: Mapping[str, InlineChannel], out: deque[ToCoordinator]) -> None:
        """`channels` holds those of all workers, by the stages in them; `out` takes reports."""
        self._channels = channels
        self._out = out
        self.inbox: deque[tuple[Edge | None, Message]] = deque()

    @property
    def remote_edges(self) -> Iterator[Edge]:
        """None."""
        return iter(())

    def bind(self, edge: Edge, endpoint: str) -> str:  # noqa: ARG002
        """Nothing: workers here have no addresses."""
        return ""

    def connect(self, edge: Edge, endpoint: str, window: int) -> None:
        """Nothing: every worker here is reached."""

    def send(self, edge: Edge, message: DataMessage, edge_dtype: str = "") -> None:  # noqa: ARG002
        """Hand `message` to the worker at the end of `edge`."""
        self._channels[edge.receiver].inbox.append((edge, message))

    def report(self, message: Message, copy: bool = False) -> None:  # noqa: ARG002
        """Hand `message` to the coordinator, which records it before the worker's next step."""
        self._out.append(cast(ToCoordinator, message))

    def poll(self, seconds: float) -> Iterator[tuple[Edge | None, Message]]:  # noqa: ARG002
        """The messages that have arrived; never waits."""
        while self.inbox:
            yield self.inbox.popleft()


class InlineEngine(LocalHost):
    """Runs the workers that `make` makes. Implements `coordinator.lifecycle.engine.Engine`."""

    api_version = ENGINE_API
    one_host = True
    stop_seconds = STOP_SECONDS

    def __init__(self, make: MakeWorker) -> None:
        super().__init__(blas.cores())
        self._make = make
        self._opened = ExitStack()
        self._out: deque[ToCoordinator] = deque()
        self._channels: dict[str, InlineChannel] = {}
        self._turns: dict[str, Turns] = {}
        self._job: Job

    def threads(self, pipeline: Pipeline) -> int:
        """Threads of the matrix library, as each worker would have."""
        return blas.threads(pipeline)

    def check(self, pipeline: Pipeline) -> None:
        """Raise SpecError where the data are on another host."""
        require_local_data(pipeline)

    def open(self, job: Job) -> None:
        """Set the threads of the matrix library; numbers that overflow are found by the layers."""
        self._job = job
        self.pipeline = job.pipeline
        self._opened.enter_context(threadpool_limits(self.threads(job.pipeline)))
        self._opened.enter_context(np.errstate(all="ignore"))

    def placed(self) -> Pipeline | None:
        """The pipeline as it is."""
        return self._job.pipeline

    def start(self, pipeline: Pipeline) -> None:
        """Make the workers."""
        trace = str((self._job.folder / TRACE).resolve())
        by_stage: dict[str, InlineChannel] = {}
        for name, stages in pipeline.workers.items():
            channel = self._channels[name] = InlineChannel(by_stage, self._out)
            by_stage.update(dict.fromkeys(stages, channel))
        for name, channel in self._channels.items():
            turns = self._turns[name] = self._make(name, channel, trace)
            self._opened.callback(turns.close)

    def send(self, name: str, message: ToWorker) -> None:
        """Hand `message` to the worker `name`."""
        self._channels[name].inbox.append((None, message))

    def poll(self, seconds: float) -> Iterator[ToCoordinator]:
        """Give each worker one step after the other, until one of them reports, or time is up."""
        until = time.monotonic() + seconds
        while not self._out and self._turns and time.monotonic() < until:
            if not (self._take_turns() or any(c.inbox for c in self._channels.values())):
                time.sleep(IDLE_SECONDS)
        while self._out:
            yield self._out.popleft()

    def _take_turns(self) -> bool:
        """Let each worker do one step; returns whether any of them can go on at once."""
        busy = False
        for name, turns in tuple(self._turns.items()):
            ready = next(turns, None)
            if ready:
                busy = True
            elif ready is None:
                del self._turns[name]
        return busy

    def exits(self) -> Iterator[WorkerExited | RunBroken]:
        """None: a worker that fails says so itself."""
        return iter(())

    def close(self) -> None:
        """End the workers that are left, and restore the settings."""
        self._opened.close()
