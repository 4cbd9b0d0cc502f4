"""The state machine of a run: a table of phases and events, and the effects of each.

enlisting  every worker sends Hello; then each gets Start, with the addresses of its neighbours
wiring     every worker sends Ready, and the source gets Go; if the worker of the source reads the
           data on another host, it first describes them to the others
running    reports, evaluations and weights arrive until every worker has finished
stopping   after a stop request or a failure the workers that are left send their weights, within
           a deadline
over       every worker got Leave

No socket, clock or process is used here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from enum import Enum
from typing import Final, TypeAlias

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
from coordinator.observers.run_end import RunEnd
from protocol import (
    VERSION,
    DatasetReady,
    Edge,
    Evaluated,
    Failed,
    Go,
    Hello,
    Leave,
    Pipeline,
    Ready,
    Report,
    SpecError,
    Start,
    State,
    Stop,
    from_dict,
)
from protocol.dataset_info import DatasetInfo
from protocol.pipeline import SOURCE

ENLIST_SECONDS: Final = 60.0
STOP_SECONDS: Final = 1.5
"""How long a worker on the coordinator's host has to send its weights."""


class Phase(Enum):
    """Where a run stands."""

    ENLISTING = "enlisting"
    WIRING = "wiring"
    RUNNING = "running"
    STOPPING = "stopping"
    OVER = "over"


class RunStateMachine:
    """One run of a pipeline.

    `info` describes the data set; None if the worker of the source is to describe it. A worker
    that was asked to stop has `stop_seconds` to send its weights, counted anew from each that
    arrive; `enlist_seconds` is how long workers may take to start.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        info: dict[str, object] | None,
        stop_seconds: float = STOP_SECONDS,
        enlist_seconds: float = ENLIST_SECONDS,
    ) -> None:
        self._stop_seconds = stop_seconds
        self._enlist_seconds = enlist_seconds
        self.phase = Phase.ENLISTING
        self._pipeline = pipeline
        self._info = info
        self._workers = pipeline.workers
        self._worker_of = {
            stage: name for name, stages in self._workers.items() for stage in stages
        }
        self._worker_of |= {name: name for name in self._workers}
        self._hellos: dict[str, Hello] = {}
        self._ready: set[str] = set()
        self._finished: set[str] = set()
        self._exited: set[str] = set()
        self._end = RunEnd("completed")

    def begin(self) -> Iterator[RunEffect]:
        """The effects with which the run begins."""
        yield SetDeadline(self._enlist_seconds)

    def handle(self, event: RunEvent) -> Iterator[RunEffect]:
        """The effects of `event`; one that names an unknown worker or stage has none."""
        if getattr(event, "name", SOURCE) not in self._worker_of:
            return
        action = _TABLE.get((self.phase, type(event))) or _ANY.get(type(event))
        if action is not None and self.phase is not Phase.OVER:
            yield from action(self, event)

    # -- before training

    def _on_hello(self, event: Hello) -> Iterator[RunEffect]:
        if event.version != VERSION:
            text = f"{event.name} speaks protocol {event.version}, the coordinator {VERSION}"
            yield from self._fail(RunEnd("failed", text))
            return
        self._hellos[event.name] = event
        if len(self._hellos) == len(self._workers):
            self.phase = Phase.WIRING
            if self._info is None:  # to read the data, and to fetch them first, may take long
                yield SetDeadline(None)
                yield from self._start_workers((SOURCE,))
            else:
                yield from self._start_workers(self._workers)

    def _on_dataset(self, event: DatasetReady) -> Iterator[RunEffect]:
        if event.name != SOURCE or self._info is not None:
            return
        try:
            self._info = from_dict(DatasetInfo, event.dataset).as_dict()
        except SpecError as error:
            yield from self._fail(
                RunEnd("failed", f"{SOURCE} sent invalid dataset information: {error}")
            )
            return
        yield SetDeadline(self._enlist_seconds)
        yield from self._start_workers(name for name in self._workers if name != SOURCE)

    def _start_workers(self, names: Iterable[str]) -> Iterator[RunEffect]:
        """Start these workers, each with the addresses of the inboxes that it sends to."""
        plan = self._pipeline.as_dict()
        endpoints = {
            e: endpoint
            for hello in self._hellos.values()
            for e, endpoint in hello.endpoints.items()
        }
        for name in names:
            stages = self._workers[name]
            own = {
                e: endpoint for e, endpoint in endpoints.items() if Edge.named(e).sender in stages
            }
            yield SendTo(name, Start(plan, self._info or {}, own))

    def _on_ready(self, event: Ready) -> Iterator[RunEffect]:
        if self._info is None:
            yield from self._fail(
                RunEnd("failed", f"{event.name} is ready before the data set was described")
            )
            return
        self._ready.add(event.name)
        if len(self._ready) == len(self._workers):
            self.phase = Phase.RUNNING
            yield SetDeadline(None)
            yield SendTo(SOURCE, Go())

    # -- while training

    def _on_evaluation(self, event: Evaluated) -> Iterator[RunEffect]:
        """Only the output layer evaluates."""
        if event.name == self._pipeline.stages[-1]:
            yield RecordMessage(event)

    def _on_state(self, event: State) -> Iterator[RunEffect]:
        yield RecordMessage(event)
        if self.phase is Phase.STOPPING:
            yield SetDeadline(self._stop_seconds)

    def _on_report(self, event: Report) -> Iterator[RunEffect]:
        yield RecordMessage(event)
        if event.finished:
            self._finished.add(event.name)
            yield from self._end_if_all_done()

    def _end_if_all_done(self) -> Iterator[RunEffect]:
        if all(name in self._exited or self._has_finished(name) for name in self._workers):
            yield from self._end_run()

    def _has_finished(self, name: str) -> bool:
        """Whether all stages in the worker `name` have finished."""
        return self._finished.issuperset(self._workers[name])

    # -- the end

    def _end_run(self) -> Iterator[RunEffect]:
        self.phase = Phase.OVER
        for name in self._workers:
            if name not in self._exited:
                yield SendTo(name, Leave())
        yield self._end

    def _on_exit(self, event: WorkerExited) -> Iterator[RunEffect]:
        self._exited.add(event.name)
        if self._has_finished(event.name):
            yield from self._end_if_all_done()
            return
        yield from self._fail(RunEnd("failed", event.text))

    def _on_failure(self, event: Failed) -> Iterator[RunEffect]:
        self._exited.add(self._worker_of[event.name])
        if event.cause == "user":
            yield from self._fail(RunEnd("failed", event.text, user=True))
        else:
            where = f"{event.name} failed at step {event.step}"
            yield from self._fail(RunEnd("failed", f"{where}: {event.text}"))

    def _on_broken(self, event: RunBroken | RecordFailed) -> Iterator[RunEffect]:
        yield from self._fail(RunEnd("failed", event.text))

    def _fail(self, end: RunEnd) -> Iterator[RunEffect]:
        self._end = end
        yield from self._stop()

    def _on_stop_request(self, event: StopRequested) -> Iterator[RunEffect]:  # noqa: ARG002
        self._end = RunEnd("interrupted")
        yield from self._stop()

    def _stop(self) -> Iterator[RunEffect]:
        """Ask the workers that are left for their weights; before training nothing is worth it."""
        if self.phase is not Phase.RUNNING:
            yield from self._end_run()
            return
        self.phase = Phase.STOPPING
        yield SetDeadline(self._stop_seconds)
        for name in self._workers:
            if name not in self._exited and not self._has_finished(name):
                yield SendTo(name, Stop())
        yield from self._end_if_all_done()

    def _on_exit_while_stopping(self, event: WorkerExited | Failed) -> Iterator[RunEffect]:
        self._exited.add(self._worker_of[event.name])
        yield from self._end_if_all_done()

    def _on_stop_timeout(self, event: DeadlineExpired | StopRequested) -> Iterator[RunEffect]:  # noqa: ARG002
        layers = self._pipeline.stages[1:]
        gone = {stage for name in self._exited for stage in self._workers[name]}
        known = self._finished | gone
        missing = ", ".join(name for name in layers if name not in known)
        if missing:
            text = f"{self._end.text}\nno weights arrived in time from: {missing}".strip()
            self._end = replace(self._end, text=text)
        yield from self._end_run()

    def _ignore_broken(self, event: RunBroken) -> Iterator[RunEffect]:  # noqa: ARG002
        """The run ends already; weights are still collected."""
        return iter(())

    def _on_record_failed_while_stopping(self, event: RecordFailed) -> Iterator[RunEffect]:
        """The run has failed, as it may have lost weights; others are still collected."""
        self._end = self._end.with_failure(event.text)
        return iter(())

    def _on_enlist_timeout(self, event: DeadlineExpired) -> Iterator[RunEffect]:  # noqa: ARG002
        known = self._hellos if self.phase is Phase.ENLISTING else self._ready
        missing = [name for name in self._workers if name not in known]
        text = f"did not start within {self._enlist_seconds:g} s: {', '.join(missing)}"
        yield from self._fail(RunEnd("failed", text))


_Action: TypeAlias = Callable[..., Iterator[RunEffect]]

_TABLE: Final[dict[tuple[Phase, type], _Action]] = {
    (Phase.ENLISTING, Hello): RunStateMachine._on_hello,
    (Phase.ENLISTING, DeadlineExpired): RunStateMachine._on_enlist_timeout,
    (Phase.WIRING, DatasetReady): RunStateMachine._on_dataset,
    (Phase.WIRING, Ready): RunStateMachine._on_ready,
    (Phase.WIRING, DeadlineExpired): RunStateMachine._on_enlist_timeout,
    (Phase.RUNNING, Report): RunStateMachine._on_report,
    (Phase.STOPPING, Report): RunStateMachine._on_report,
    (Phase.STOPPING, Failed): RunStateMachine._on_exit_while_stopping,
    (Phase.STOPPING, WorkerExited): RunStateMachine._on_exit_while_stopping,
    (Phase.STOPPING, StopRequested): RunStateMachine._on_stop_timeout,
    (Phase.STOPPING, DeadlineExpired): RunStateMachine._on_stop_timeout,
    (Phase.STOPPING, RunBroken): RunStateMachine._ignore_broken,
    (Phase.STOPPING, RecordFailed): RunStateMachine._on_record_failed_while_stopping,
}
_ANY: Final[dict[type, _Action]] = {
    Evaluated: RunStateMachine._on_evaluation,
    State: RunStateMachine._on_state,
    Failed: RunStateMachine._on_failure,
    WorkerExited: RunStateMachine._on_exit,
    StopRequested: RunStateMachine._on_stop_request,
    RunBroken: RunStateMachine._on_broken,
    RecordFailed: RunStateMachine._on_broken,
}
