"""A core with all that is known of it from outside: its time, its memory, its messages."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from protocol import Activation, Credit, DataMessage, Gradient, Pipeline, Report, Send, Stage, State
from protocol.clock import Estimate
from protocol.codec.quantization import FULL
from protocol.recording_format import Operation
from protocol.trace_format import array_bytes
from workers.recording.recorder import MessageRecorder, open_recorder
from workers.recording.tracer import FileTracer, open_tracer
from workers.transport.window import Way

_MIB = 1 << 20


class InstrumentedStage:
    """Runs a core and takes the time.

    `trace` traces the stage's messages, `recorder` records those that the stage receives.
    """

    def __init__(
        self, core: Stage, trace: FileTracer | None = None, recorder: MessageRecorder | None = None
    ) -> None:
        self.core = core
        self.name = core.name
        self._trace = trace
        self._recorder = recorder
        self._ways: dict[str, Way] = {}
        if trace is not None:
            core.tracer = trace
        self._busy = 0.0
        self._began: float | None = None
        self._trained = 0.0

    def work(self) -> Iterator[Send]:
        """`core.work`, timed; sending is part of the work."""
        start = time.perf_counter()
        step = self.core.step
        if self._began is None:
            self._began = start
        yield from self._recorded(Operation.WORK, self.core.work())
        end = time.perf_counter()
        if self._trace is not None:
            self._trace.work_done()
        self._busy += end - start
        if self.core.step != step:
            self._trained = end - self._began

    def resend_credits(self) -> Iterator[Send]:
        """`core.resend_credits`, after a look at the long ways."""
        for neighbour in self._ways:
            self._look(neighbour)
        yield from self._recorded(Operation.RESEND_CREDITS, self.core.resend_credits())

    def _look(self, neighbour: str) -> None:
        """Let the window to `neighbour` be what the way there needs now."""
        before = self._ways[neighbour].window
        window = self._ways[neighbour].look(time.monotonic_ns())
        if window == before:
            return
        if self._recorder is not None:
            self._recorder.record_window(neighbour, window)
        self.core.set_window(neighbour, window)

    def _recorded(self, operation: Operation, sends: Iterator[Send]) -> Iterator[Send]:
        if self._recorder is None:
            return sends
        return self._recorder.record_operation(operation, sends)

    def far(self, neighbour: str, way: Way) -> None:
        """The `way` to `neighbour` is long: its window changes as it needs."""
        self._ways[neighbour] = way

    def sends(self, to: str, message: DataMessage, wire: str = FULL) -> None:
        """What the core sends is about to go, on a way of the width `wire`."""
        if to in self._ways and isinstance(message, Activation | Gradient):
            self._ways[to].sends(message.batch, time.monotonic_ns(), array_bytes(message, wire))
        if self._trace is not None:
            self._trace.sending(to, message, wire)

    def receive(self, sender: str, message: DataMessage) -> None:
        """Hand `message` to the core."""
        if sender in self._ways and isinstance(message, Credit | Gradient):
            self._ways[sender].credited(message.credit, time.monotonic_ns())
            if self._ways[sender].eager:
                self._look(sender)
        if self._trace is not None:
            self._trace.received(sender, message)
        if self._recorder is not None:
            message = self._recorder.record_message(sender, message)
        self.core.receive(sender, message)

    def compared(self, estimate: Estimate) -> None:
        """It was compared what time it is here and at the coordinator."""
        if self._trace is not None:
            self._trace.clock_sample(estimate)

    def state(self) -> State | None:
        """`core.state`, in which all ends that it was told."""
        state = self.core.state()
        if self._recorder is not None:
            self._recorder.finish(state)
        return state

    def close(self) -> None:
        """The core does nothing more."""
        if self._recorder is not None:
            self._recorder.close()
        if self._trace is not None:
            self._trace.close()

    def report(self, finished: bool = False) -> Report:
        """`core.report` with times and memory."""
        began = self._began
        rss, peak = _memory()
        return replace(
            self.core.report(),
            busy=self._busy,
            elapsed=0.0 if began is None else time.perf_counter() - began,
            training=self._trained,
            rss_mb=rss,
            peak_rss_mb=peak,
            ways={neighbour: way.report for neighbour, way in self._ways.items()},
            finished=finished,
        )


def instrument(
    core: Stage,
    pipeline: Pipeline,
    info: Mapping[str, object],
    folder: str | Path,
    clock: Estimate | None = None,
) -> InstrumentedStage:
    """The meter of `core`, which leaves in `folder` what the pipeline wants of its messages.

    `info` are those of the data, as a dict; `clock` is as for `open_tracer`.
    """
    trace = open_tracer(core, pipeline, folder, clock)
    return InstrumentedStage(core, trace, open_recorder(core, pipeline, info, folder))


def _memory() -> tuple[float, float]:
    """Resident memory now and at most so far, MiB.

    Linux's ru_maxrss would count what the process was before it became this program.
    """
    try:
        status = Path("/proc/self/status").read_text("ascii")
        found = dict(line.split(":", 1) for line in status.splitlines())
        return tuple(int(found[key].split()[0]) / 1024 for key in ("VmRSS", "VmHWM"))  # type: ignore[return-value]
    except (OSError, KeyError, ValueError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        most = peak / _MIB if sys.platform == "darwin" else peak / 1024
        return most, most
