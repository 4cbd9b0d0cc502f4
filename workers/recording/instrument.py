"""A stage with its instruments: times, memory, traces, recordings and windows between hosts."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from protocol import Activation, Credit, DataMessage, Gradient, Pipeline, Report, Send, Stage, State
from protocol.clock import ClockSample
from protocol.codec.quantization import FLOAT32
from protocol.recording_format import Operation
from protocol.trace_format import array_bytes
from workers.recording.recorder import MessageRecorder, open_recorder
from workers.recording.tracer import FileTracer, open_tracer
from workers.transport.window_controller import WindowController

_MIB = 1 << 20


class InstrumentedStage:
    """Runs a stage and measures it.

    `tracer` traces what the stage does with its messages; `recorder` records the messages that it
    receives, for a replay. Both are optional.
    """

    def __init__(
        self,
        stage: Stage,
        tracer: FileTracer | None = None,
        recorder: MessageRecorder | None = None,
    ) -> None:
        self.stage = stage
        self.name = stage.name
        self._tracer = tracer
        self._recorder = recorder
        self._controllers: dict[str, WindowController] = {}
        if tracer is not None:
            stage.tracer = tracer
        self._busy = 0.0
        self._began: float | None = None
        self._trained = 0.0

    def work(self) -> Iterator[Send]:
        """`stage.work`, timed; sending is part of the work."""
        start = time.perf_counter()
        step = self.stage.step
        if self._began is None:
            self._began = start
        yield from self._recorded(Operation.WORK, self.stage.work())
        end = time.perf_counter()
        if self._tracer is not None:
            self._tracer.work_done()
        self._busy += end - start
        if self.stage.step != step:
            self._trained = end - self._began

    def resend_credits(self) -> Iterator[Send]:
        """`stage.resend_credits`, after an update of the windows to other hosts."""
        for neighbour in self._controllers:
            self._update_window(neighbour)
        yield from self._recorded(Operation.RESEND_CREDITS, self.stage.resend_credits())

    def _update_window(self, neighbour: str) -> None:
        """Set the window to `neighbour` to what its controller computes now."""
        before = self._controllers[neighbour].window
        window = self._controllers[neighbour].update(time.monotonic_ns())
        if window == before:
            return
        if self._recorder is not None:
            self._recorder.record_window(neighbour, window)
        self.stage.set_window(neighbour, window)

    def _recorded(self, operation: Operation, sends: Iterator[Send]) -> Iterator[Send]:
        if self._recorder is None:
            return sends
        return self._recorder.record_operation(operation, sends)

    def control_window(self, neighbour: str, controller: WindowController) -> None:
        """Let `controller` set the window to `neighbour`, which is on another host."""
        self._controllers[neighbour] = controller

    def record_send(self, to: str, message: DataMessage, edge_dtype: str = FLOAT32) -> None:
        """Note that the stage is about to send `message` with its array as `edge_dtype`."""
        if to in self._controllers and isinstance(message, Activation | Gradient):
            self._controllers[to].on_sent(
                message.batch, time.monotonic_ns(), array_bytes(message, edge_dtype)
            )
        if self._tracer is not None:
            self._tracer.sending(to, message, edge_dtype)

    def receive(self, sender: str, message: DataMessage) -> None:
        """Give `message` to the stage."""
        if sender in self._controllers and isinstance(message, Credit | Gradient):
            self._controllers[sender].on_credit(message.credit, time.monotonic_ns())
            if self._controllers[sender].in_startup:
                self._update_window(sender)
        if self._tracer is not None:
            self._tracer.received(sender, message)
        if self._recorder is not None:
            message = self._recorder.record_message(sender, message)
        self.stage.receive(sender, message)

    def compared(self, estimate: ClockSample) -> None:
        """Note a new comparison of this host's clock with the coordinator's."""
        if self._tracer is not None:
            self._tracer.clock_sample(estimate)

    def state(self) -> State | None:
        """`stage.state`, with which the recording ends."""
        state = self.stage.state()
        if self._recorder is not None:
            self._recorder.finish(state)
        return state

    def close(self) -> None:
        """Close trace and recording; the stage does nothing more."""
        if self._recorder is not None:
            self._recorder.close()
        if self._tracer is not None:
            self._tracer.close()

    def report(self, finished: bool = False) -> Report:
        """`stage.report` with times and memory."""
        began = self._began
        rss, peak = _memory()
        return replace(
            self.stage.report(),
            busy=self._busy,
            elapsed=0.0 if began is None else time.perf_counter() - began,
            training=self._trained,
            rss_mb=rss,
            peak_rss_mb=peak,
            links={name: controller.report for name, controller in self._controllers.items()},
            finished=finished,
        )


def instrument(
    stage: Stage,
    pipeline: Pipeline,
    info: Mapping[str, object],
    folder: str | Path,
    clock: ClockSample | None = None,
) -> InstrumentedStage:
    """`stage` with the tracer and the recorder that the pipeline wants; both write to `folder`.

    `info` is the `DatasetInfo` as a dict; `clock` is as for `open_tracer`.
    """
    tracer = open_tracer(stage, pipeline, folder, clock)
    return InstrumentedStage(stage, tracer, open_recorder(stage, pipeline, info, folder))


def _memory() -> tuple[float, float]:
    """Resident memory now and its maximum so far, in MiB.

    On Linux, ru_maxrss would include the memory of the process before it executed this program.
    """
    try:
        status = Path("/proc/self/status").read_text("ascii")
        found = dict(line.split(":", 1) for line in status.splitlines())
        return tuple(int(found[key].split()[0]) / 1024 for key in ("VmRSS", "VmHWM"))  # type: ignore[return-value]
    except (OSError, KeyError, ValueError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        most = peak / _MIB if sys.platform == "darwin" else peak / 1024
        return most, most
