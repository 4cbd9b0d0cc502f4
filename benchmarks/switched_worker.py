"""A worker of benchmarks.switched: its tracing goes on and off while it trains.

    python -m benchmarks.switched_worker NAME

By the batches that it worked on, as `on` says, so that all workers of a pipeline are of one mind
but for the few batches that some are ahead. What is off costs as much as `trace.mode = "off"`.
The top layer prints the nanoseconds from the batch `FIRST` of each block to its `LAST`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Final
from unittest.mock import patch

from protocol import Send, Stage
from protocol.stage import NullTracer
from workers import process
from workers.recording import instrument
from workers.recording.recorder import MessageRecorder
from workers.recording.tracer import FileTracer
from workers.rules.output import OutputLayer

BLOCK: Final = 160
FIRST, LAST = 16, BLOCK - 16
"""Within a block, away from its ends by more than layers can be ahead of one another."""


def on(block: int) -> bool:
    """On, off, off, on, and so again: what changes evenly with time favours neither."""
    return block % 4 in (0, 3)


class SwitchedStage(instrument.InstrumentedStage):
    """A meter that has a trace in every other block."""

    def __init__(
        self,
        stage: Stage,
        tracer: FileTracer | None = None,
        recorder: MessageRecorder | None = None,
    ) -> None:
        super().__init__(stage, tracer, recorder)
        self._kept = tracer
        self._seen = -1
        self._since = 0

    def work(self) -> Iterator[Send]:
        """The same, with whatever is due at this step before it."""
        step = self.stage.step
        if step != self._seen:
            self._seen = step
            self._come_to(step)
        return super().work()

    def _come_to(self, step: int) -> None:
        block, place = divmod(step, BLOCK)
        if place == 0:
            self._switch(on(block))
        elif place == FIRST:
            self._since = time.monotonic_ns()
        elif place == LAST and isinstance(self.stage, OutputLayer):
            print("block", block, time.monotonic_ns() - self._since, flush=True)

    def _switch(self, to: bool) -> None:
        trace = self._kept
        if trace is None:
            return
        if self._tracer is not None:
            trace.work_done()
        trace._waiting = [BLOCK] * len(trace._waiting)  # of what came meanwhile it knows nothing
        trace._newest = 0, 0, 0
        self._tracer = trace if to else None
        self.stage.tracer = trace if to else NullTracer()


if __name__ == "__main__":
    with patch.object(instrument, "InstrumentedStage", SwitchedStage):
        sys.exit(process.main())
