"""The core of a run: what follows from what happens, as a table; no socket, no clock, no process.

enlisting  every worker says hello; then all are told where their neighbours are
wiring     every worker says that it is ready, after the source has described the data where nobody
           else has them; then the source is told to go
running    reports, evaluations and weights come in, until every worker has finished
stopping   an interrupt or a failure: who is left is asked for its weights, within a deadline
over       everybody was told to leave
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from enum import Enum
from typing import Final, TypeAlias

from coordinator.lifecycle.events import (
    DeadlineExpired,
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
    Described,
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


class Phase(Enum):
    """Where a run stands."""

    ENLISTING = "enlisting"
    WIRING = "wiring"
    RUNNING = "running"
    STOPPING = "stopping"
    OVER = "over"


class RunStateMachine:
    """One run of a pipeline. `info` is what the layers need to know of the data; None where the
    source is to say it.

    Who is asked to stop has `stop_seconds` to send its weights, and as long after each that came.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        info: dict[str, object] | None,
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        self._stop_seconds = stop_seconds
        self.phase = Phase.ENLISTING
        self._pipeline = pipeline
        self._facts = info
        self._processes = pipeline.workers
        self._host = {core: name for name, cores in self._processes.items() for core in cores}
        self._host |= {name: name for name in self._processes}
        self._hellos: dict[str, Hello] = {}
        self._ready: set[str] = set()
        self._finished: set[str] = set()
        self._gone: set[str] = set()
        self._end = RunEnd("completed")

    def begin(self) -> Iterator[RunEffect]:
        """Wait for the workers, but not for ever."""
        yield SetDeadline(ENLIST_SECONDS)

    def handle(self, event: RunEvent) -> Iterator[RunEffect]:
        """What is to be done about `event`. Strangers are not listened to."""
        if getattr(event, "name", SOURCE) not in self._host:
            return
        action = _TABLE.get((self.phase, type(event))) or _ANY.get(type(event))
        if action is not None and self.phase is not Phase.OVER:
            yield from action(self, event)

    # -- before training

    def _hello(self, event: Hello) -> Iterator[RunEffect]:
        if event.version != VERSION:
            text = f"{event.name} speaks protocol {event.version}, the coordinator {VERSION}"
            yield from self._fail(RunEnd("failed", text))
            return
        self._hellos[event.name] = event
        if len(self._hellos) == len(self._processes):
            self.phase = Phase.WIRING
            if self._facts is None:  # to read the data, and to fetch them first, may take long
                yield SetDeadline(None)
                yield from self._wire((SOURCE,))
            else:
                yield from self._wire(self._processes)

    def _described(self, event: Described) -> Iterator[RunEffect]:
        if event.name != SOURCE or self._facts is not None:
            return
        try:
            self._facts = from_dict(DatasetInfo, event.facts).as_dict()
        except SpecError as error:
            yield from self._fail(
                RunEnd("failed", f"{SOURCE} sent invalid dataset information: {error}")
            )
            return
        yield SetDeadline(ENLIST_SECONDS)
        yield from self._wire(name for name in self._processes if name != SOURCE)

    def _wire(self, names: Iterable[str]) -> Iterator[RunEffect]:
        """Tell these workers all that they need."""
        plan = self._pipeline.as_dict()
        doors = {e: door for hello in self._hellos.values() for e, door in hello.doors.items()}
        for name in names:
            cores = self._processes[name]
            own = {e: door for e, door in doors.items() if Edge.named(e).sender in cores}
            yield SendTo(name, Start(plan, self._facts or {}, own))

    def _is_ready(self, event: Ready) -> Iterator[RunEffect]:
        if self._facts is None:
            yield from self._fail(
                RunEnd("failed", f"{event.name} is ready before the data set was described")
            )
            return
        self._ready.add(event.name)
        if len(self._ready) == len(self._processes):
            self.phase = Phase.RUNNING
            yield SetDeadline(None)
            yield SendTo(SOURCE, Go())

    # -- while training

    def _evaluated(self, event: Evaluated) -> Iterator[RunEffect]:
        """Only the top layer knows how the tests went."""
        if event.name == self._pipeline.stages[-1]:
            yield RecordMessage(event)

    def _state(self, event: State) -> Iterator[RunEffect]:
        yield RecordMessage(event)
        if self.phase is Phase.STOPPING:
            yield SetDeadline(self._stop_seconds)

    def _report(self, event: Report) -> Iterator[RunEffect]:
        yield RecordMessage(event)
        if event.finished:
            self._finished.add(event.name)
            yield from self._over_if_all_done()

    def _over_if_all_done(self) -> Iterator[RunEffect]:
        if all(name in self._gone or self._has_finished(name) for name in self._processes):
            yield from self._over()

    def _has_finished(self, name: str) -> bool:
        """Whether all that lives in the worker `name` has ended well."""
        return self._finished.issuperset(self._processes[name])

    # -- the end

    def _over(self) -> Iterator[RunEffect]:
        self.phase = Phase.OVER
        for name in self._processes:
            if name not in self._gone:
                yield SendTo(name, Leave())
        yield self._end

    def _exited(self, event: WorkerExited) -> Iterator[RunEffect]:
        self._gone.add(event.name)
        if self._has_finished(event.name):
            yield from self._over_if_all_done()
            return
        log_tail = f"\n{event.log_tail}" if event.log_tail else ""
        reason = event.reason or _death(event.status)
        yield from self._fail(RunEnd("failed", f"{event.name} {reason}{log_tail}"))

    def _failed(self, event: Failed) -> Iterator[RunEffect]:
        self._gone.add(self._host[event.name])
        if event.cause == "user":
            yield from self._fail(RunEnd("failed", event.text, user=True))
        else:
            where = f"{event.name} failed at step {event.step}"
            yield from self._fail(RunEnd("failed", f"{where}: {event.text}"))

    def _broken(self, event: RunBroken) -> Iterator[RunEffect]:
        yield from self._fail(RunEnd("failed", event.text))

    def _fail(self, end: RunEnd) -> Iterator[RunEffect]:
        self._end = end
        yield from self._stop()

    def _interrupted(self, event: StopRequested) -> Iterator[RunEffect]:  # noqa: ARG002
        self._end = RunEnd("interrupted")
        yield from self._stop()

    def _stop(self) -> Iterator[RunEffect]:
        """Ask who is left for its weights; before training there are none worth asking for."""
        if self.phase is not Phase.RUNNING:
            yield from self._over()
            return
        self.phase = Phase.STOPPING
        yield SetDeadline(self._stop_seconds)
        for name in self._processes:
            if name not in self._gone and not self._has_finished(name):
                yield SendTo(name, Stop())
        yield from self._over_if_all_done()

    def _gone_while_stopping(self, event: WorkerExited | Failed) -> Iterator[RunEffect]:
        self._gone.add(self._host[event.name])
        yield from self._over_if_all_done()

    def _too_late(self, event: DeadlineExpired | StopRequested) -> Iterator[RunEffect]:  # noqa: ARG002
        layers = self._pipeline.stages[1:]
        gone = {core for name in self._gone for core in self._processes[name]}
        known = self._finished | gone
        missing = ", ".join(name for name in layers if name not in known)
        if missing:
            text = f"{self._end.text}\nno weights came in time from: {missing}".strip()
            self._end = replace(self._end, text=text)
        yield from self._over()

    def _nothing(self, event: RunBroken) -> Iterator[RunEffect]:  # noqa: ARG002
        """It is known already; what else can be saved will be."""
        return iter(())

    def _nobody_came(self, event: DeadlineExpired) -> Iterator[RunEffect]:  # noqa: ARG002
        known = self._hellos if self.phase is Phase.ENLISTING else self._ready
        missing = [name for name in self._processes if name not in known]
        text = f"not there after {ENLIST_SECONDS:.0f} s: {', '.join(missing)}"
        yield from self._fail(RunEnd("failed", text))


def _death(status: int) -> str:
    if status < 0:
        try:
            return f"was killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"was killed by signal {-status}"
    return f"left by itself with exit status {status}"


_Action: TypeAlias = Callable[..., Iterator[RunEffect]]

_TABLE: Final[dict[tuple[Phase, type], _Action]] = {
    (Phase.ENLISTING, Hello): RunStateMachine._hello,
    (Phase.ENLISTING, DeadlineExpired): RunStateMachine._nobody_came,
    (Phase.WIRING, Described): RunStateMachine._described,
    (Phase.WIRING, Ready): RunStateMachine._is_ready,
    (Phase.WIRING, DeadlineExpired): RunStateMachine._nobody_came,
    (Phase.RUNNING, Report): RunStateMachine._report,
    (Phase.STOPPING, Report): RunStateMachine._report,
    (Phase.STOPPING, Failed): RunStateMachine._gone_while_stopping,
    (Phase.STOPPING, WorkerExited): RunStateMachine._gone_while_stopping,
    (Phase.STOPPING, StopRequested): RunStateMachine._too_late,
    (Phase.STOPPING, DeadlineExpired): RunStateMachine._too_late,
    (Phase.STOPPING, RunBroken): RunStateMachine._nothing,
}
_ANY: Final[dict[type, _Action]] = {
    Evaluated: RunStateMachine._evaluated,
    State: RunStateMachine._state,
    Failed: RunStateMachine._failed,
    WorkerExited: RunStateMachine._exited,
    StopRequested: RunStateMachine._interrupted,
    RunBroken: RunStateMachine._broken,
}
