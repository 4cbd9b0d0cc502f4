"""A worker's dialogue with the coordinator: report, build the stages, train, send their state.

The dialogue needs no process and no socket: it reaches the transport only through a
`WorkerChannel`. In a process of its own (`workers.process`) the channel is a set of sockets; the
inline engine runs all workers of a pipeline in one process, in turns.

    worker -> Hello           the endpoints of its inboxes
    Start  -> worker          the pipeline, its receivers' endpoints, the description of the data
    worker -> DatasetReady    only the source, and only if Start has no description of the data
    worker -> Ready
    Go     -> source          the layers do not wait for it
    worker -> Report ...      twice a second
    worker -> State, Report   when all is done, or after Stop
    Leave  -> worker
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Final, TypeAlias, TypeVar, cast

from protocol import (
    VERSION,
    Activation,
    Credit,
    DatasetReady,
    Edge,
    Failed,
    Go,
    Gradient,
    Hello,
    Leave,
    Marker,
    Message,
    NonFiniteError,
    Pipeline,
    Pong,
    Ready,
    Stage,
    Start,
    Stop,
    ToWorker,
    UserError,
    from_dict,
)
from protocol.clock import ClockSample
from protocol.dataset_info import DatasetInfo
from protocol.messages import Cause
from protocol.pipeline import SOURCE
from workers.assembly.build import build_layer, dataset_info
from workers.channel import Config, WorkerChannel
from workers.data import Dataset
from workers.loading import Load, call_in_thread, load_data
from workers.recording.clock import INITIAL_PINGS, ClockSync
from workers.recording.instrument import InstrumentedStage, instrument
from workers.stages.driver import StageGroup
from workers.stages.source import Source
from workers.transport.edge_formats import EdgeFormats
from workers.transport.window_controller import controller_for

REPORT_SECONDS: Final = 0.5
SILENT_SECONDS: Final = 1.0
"""The longest time without a message to the coordinator before training begins."""
CHECK_SECONDS: Final = 0.01
"""The time between checks whether the data have been read."""
LONGEST_TEXT: Final = 20_000

FromCoordinator = TypeVar("FromCoordinator", bound=ToWorker)
Result = TypeVar("Result")
Steps: TypeAlias = Generator[bool, None, Result]
"""A part of the dialogue, which yields as `Worker.run` does and returns a result."""


class _Leave(Exception):  # noqa: N818  not an error
    """The coordinator has ended this worker."""


class Worker:
    """One worker and its stages.

    `load` reads the data for the source, `on_built` is called once the stages are built, and `warn`
    with an unexpected error, which a broken channel cannot carry. `failed` is set once the worker
    has reported that it cannot go on.
    """

    def __init__(
        self,
        config: Config,
        channel: WorkerChannel,
        load: Load = load_data,
        on_built: Callable[[], None] = lambda: None,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.failed = False
        self._config = config
        self._channel = channel
        self._load = load
        self._on_built = on_built
        self._warn = warn
        self._clock = ClockSync(config.name, config.clock)
        self._stages: list[InstrumentedStage] = []
        self._group: StageGroup | None = None
        self._stopped = False

    def run(self) -> Generator[bool, None, None]:
        """The whole dialogue, until the coordinator ends it or the worker fails.

        Yields, before every poll of the channel, whether a stage is ready: workers of one process
        take turns. Failures are reported. Raises EOFError if the coordinator is gone.
        """
        try:
            yield from self._dialogue()
        except _Leave:
            return
        except EOFError:
            raise
        except NonFiniteError as error:
            self._fail("nonfinite", str(error))
        except UserError as error:
            self._fail("user", str(error))
        except Exception as error:
            self._warn(f"{type(error).__name__}: {error}")  # the channel itself may be broken
            self._fail("error", traceback.format_exc())
        finally:
            for stage in self._stages:
                stage.close()

    def _fail(self, cause: Cause, text: str) -> None:
        """Report the failure, with the end of a long text: a traceback ends with its cause."""
        current = self._group.current if self._group else None
        name, step = (current.name, current.stage.step) if current else (self._config.name, 0)
        short = text[-LONGEST_TEXT:].encode("utf-8", "replace").decode()
        self.failed = True
        self._channel.report(Failed(name, step, cause, short))

    def _dialogue(self) -> Iterator[bool]:
        start = yield from self._enlist()
        pipeline = from_dict(Pipeline, start.pipeline)
        for edge, endpoint in start.endpoints.items():
            self._channel.connect(Edge.named(edge), str(endpoint), pipeline.window)
        clock = yield from self._compare_clocks()
        stages = yield from self._build(start, pipeline)
        self._instrument(stages, start, pipeline, clock)
        formats = EdgeFormats(pipeline)
        group = self._group = StageGroup(self._stages, self._channel, formats.format_of)
        self._on_built()
        self._channel.report(Ready(self._config.name))
        if self._config.name == SOURCE:
            yield from self._wait(Go)  # a layer does not: a batch may come before its Go
        yield from self._train(group)
        self._send_states(group)
        yield from self._wait(Leave)

    # -- before training

    def _enlist(self) -> Steps[Start]:
        """Bind the inboxes and report their endpoints; returns the coordinator's answer."""
        inboxes = self._config.inboxes.items()
        endpoints = {edge: self._channel.bind(Edge.named(edge), where) for edge, where in inboxes}
        hello = Hello(self._config.name, os.getpid(), VERSION, cast(dict[str, object], endpoints))
        self._channel.report(hello)
        return (yield from self._wait(Start))

    def _compare_clocks(self) -> Steps[ClockSample]:
        """The difference between this host's clock and the coordinator's: the best of a few."""
        now = time.monotonic_ns()
        if self._clock.shared:
            return ClockSample(now, now, 0)
        found: list[ClockSample] = []
        while len(found) < INITIAL_PINGS:
            self._ping()
            pong = yield from self._wait(Pong)
            answer = self._clock.on_pong(pong, time.monotonic_ns())
            found += [answer] if answer else []
        return min(found, key=lambda answer: answer.bound)

    def _build(self, start: Start, pipeline: Pipeline) -> Steps[list[Stage]]:
        """The stages of this worker. Raises UserError where pipeline and data do not fit."""
        name = self._config.name
        if name != SOURCE:
            info = from_dict(DatasetInfo, start.dataset)
            numbers = [pipeline.stages.index(stage) - 1 for stage in pipeline.workers[name]]
            return [build_layer(pipeline, info, number) for number in numbers]
        if start.dataset:  # the coordinator has read the data, so they are on this host
            return [Source(pipeline, self._load(pipeline))]
        data = yield from self._load_slowly(pipeline)
        self._channel.report(DatasetReady(SOURCE, dataset_info(data).as_dict()))
        return [Source(pipeline, data)]

    def _load_slowly(self, pipeline: Pipeline) -> Steps[Dataset]:
        """The data. A download may take long; the coordinator's messages are read meanwhile."""
        loaded = call_in_thread(lambda: self._load(pipeline))
        due = 0.0
        while not loaded.done():
            yield False
            for edge, message in self._channel.poll(CHECK_SECONDS):
                _leave_if_ended(edge, message)
            if time.monotonic() >= due:
                due = time.monotonic() + SILENT_SECONDS
                self._keep_alive()
        return loaded.result()

    def _instrument(
        self, stages: Iterable[Stage], start: Start, pipeline: Pipeline, clock: ClockSample
    ) -> None:
        """Wrap the stages with what measures and records them."""
        for stage in stages:
            wrapped = instrument(stage, pipeline, start.dataset, self._config.trace, clock)
            for edge in self._channel.remote_edges:
                if edge.sender == stage.name:
                    wrapped.control_window(edge.receiver, controller_for(pipeline))
            self._stages.append(wrapped)

    def _wait(self, kind: type[FromCoordinator]) -> Steps[FromCoordinator]:
        """The next message of this `kind` from the coordinator."""
        while True:
            yield False
            for edge, message in self._channel.poll(SILENT_SECONDS):
                if edge is None and isinstance(message, kind):
                    return message
                _leave_if_ended(edge, message)
            if kind is not Pong:
                self._keep_alive()

    def _keep_alive(self) -> None:
        """Send something between hosts: a broken connection is noticed only by what is sent."""
        if self._config.keys:
            self._ping()

    def _ping(self) -> None:
        self._channel.report(self._clock.ping(time.monotonic_ns()))

    # -- training

    def _train(self, group: StageGroup) -> Iterator[bool]:
        """Run the stages until all have finished or the coordinator stops the run."""
        due = time.monotonic() + REPORT_SECONDS
        while not self._stopped:
            stage = group.next()
            yield stage is not None
            received = self._receive(group, 0.0 if stage else max(0.0, due - time.monotonic()))
            if stage is None and received:
                stage = group.next()
            if stage is not None:
                group.run(stage)
                if group.finished:
                    return
            if time.monotonic() >= due:
                due = time.monotonic() + REPORT_SECONDS
                self._report(group)

    def _receive(self, group: StageGroup, seconds: float) -> bool:
        """Deliver what comes within `seconds`; returns whether anything came."""
        received = False
        for edge, message in self._channel.poll(seconds):
            received = True
            match message:
                case Activation() | Gradient() | Credit() | Marker() if edge is not None:
                    group.deliver(edge, message)
                case Stop() if edge is None:
                    self._stopped = True
                    return received
                case Leave() if edge is None:
                    raise _Leave
                case Pong() if edge is None:
                    self._note_time(message)
        return received

    def _report(self, group: StageGroup) -> None:
        for stage in group:
            self._channel.report(stage.report())
            if not self._channel.lossless:
                group.resend_credits(stage)
        if not self._clock.shared:
            self._ping()

    def _note_time(self, pong: Pong) -> None:
        now = time.monotonic_ns()
        answer = self._clock.on_pong(pong, now)
        if answer and (best := self._clock.best_of_interval(answer, now)):
            for stage in self._stages:
                stage.compared(best)

    def _send_states(self, group: StageGroup) -> None:
        """Report the final state of every stage."""
        for stage in group:
            state = stage.state()
            stage.close()
            if state is not None:
                self._channel.report(state)
            self._channel.report(stage.report(finished=True))


def _leave_if_ended(edge: Edge | None, message: Message) -> None:
    """Raise _Leave where the coordinator ends a worker that does not train yet."""
    if edge is None and isinstance(message, Leave | Stop):
        raise _Leave
