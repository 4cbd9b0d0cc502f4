"""A worker of benchmarks.switched, whose tracing is switched on and off while it trains.

    python -m benchmarks.switched_worker NAME

The number of the batch decides (`on`), so that all workers of a pipeline switch together, except
for the few batches that some are ahead. Switched off, tracing costs as much as `trace.mode =
"off"`. The output layer prints the nanoseconds from the batch `FIRST` of each block to its `LAST`.
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
"""In a block, farther from its ends than one layer can be ahead of another."""


def on(block: int) -> bool:
    """On, off, off, on, and so on: a linear drift with time favours neither."""
    return block % 4 in (0, 3)


class SwitchedStage(instrument.InstrumentedStage):
    """A stage that is traced in half of the blocks."""

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
        """`work`, after switching if a block begins at this step."""
        step = self.stage.step
        if step != self._seen:
            self._seen = step
            self._on_step(step)
        return super().work()

    def _on_step(self, step: int) -> None:
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
        # Messages that arrived while tracing was off are unknown to it.
        trace._waiting = [BLOCK] * len(trace._waiting)
        trace._newest = 0, 0, 0
        self._tracer = trace if to else None
        self.stage.tracer = trace if to else NullTracer()


if __name__ == "__main__":
    with patch.object(instrument, "InstrumentedStage", SwitchedStage):
        sys.exit(process.main())
