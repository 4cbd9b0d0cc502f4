"""The interface through which a run reports its events, and the list of those that receive them."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from coordinator.interrupts import InterruptCounter
from coordinator.observers.run_stats import RunStats
from coordinator.run_folder.create import RunFolder
from protocol import Evaluated, Pipeline, Report, State

TICK_SECONDS: Final = 0.25


class Observer:
    """Receives the events of a run, in this order; the methods do nothing until overridden.

    The event loop of the run calls the methods, so they must return quickly.
    """

    def on_begin(self, stats: RunStats, threads: int) -> None:
        """The run begins, before its workers start, with `threads` BLAS threads per worker."""

    def on_placement(self, stats: RunStats) -> None:
        """All hosts have joined; `stats.pipeline` holds the placement of the layers."""

    def on_metrics(self, stats: RunStats, row: Mapping[str, object]) -> None:
        """A worker sent a report or an evaluation; `row` is its line of metrics.jsonl."""

    def on_weights(self, state: State) -> None:
        """A worker sent the weights of a layer."""

    def on_tick(self, stats: RunStats) -> None:
        """Some time has passed; called a few times per second."""

    def on_end(self) -> None:
        """No event follows; called exactly once."""


class Observers:
    """The recorder and the other observers of one run.

    An OSError of the recorder fails the run. An exception of another observer does not.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        folder: RunFolder,
        recorder: Observer,
        others: Sequence[Observer],
        interrupts: InterruptCounter,
    ) -> None:
        self.stats = RunStats(pipeline)
        self.interrupts = interrupts
        self._folder = folder
        self._recorder = recorder
        self._others = others
        self._next_tick = 0.0

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return self._folder.path

    @property
    def committed(self) -> bool:
        """Whether the folder of the run is kept: its workers have started."""
        return self._folder.committed

    def begin(self, threads: int) -> None:
        """Report the beginning of the run."""
        self._recorder.on_begin(self.stats, threads)
        self._notify(lambda observer: observer.on_begin(self.stats, threads))

    def workers_started(self) -> None:
        """Keep the run folder: from here on a failure belongs to the run and is recorded."""
        self._folder.commit()

    def place(self, pipeline: Pipeline) -> None:
        """Report the placement of the layers, which `pipeline` holds."""
        self.stats.pipeline = pipeline
        self._recorder.on_placement(self.stats)
        self._notify(lambda observer: observer.on_placement(self.stats))

    def record(self, message: Report | Evaluated | State) -> None:
        """Report a message of a worker. Raises OSError if it cannot be recorded."""
        if isinstance(message, State):
            self._recorder.on_weights(message)
            self._notify(lambda observer: observer.on_weights(message))
        else:
            row = self.stats.add(message)
            self._recorder.on_metrics(self.stats, row)
            self._notify(lambda observer: observer.on_metrics(self.stats, row))

    def tick(self) -> None:
        """Report the passing of time, at most every `TICK_SECONDS`."""
        now = time.monotonic()
        if now >= self._next_tick:
            self._next_tick = now + TICK_SECONDS
            self._recorder.on_tick(self.stats)
            self._notify(lambda observer: observer.on_tick(self.stats))

    def end(self) -> None:
        """Report that no event follows."""
        self._recorder.on_end()
        self._notify(lambda observer: observer.on_end())

    def _notify(self, event: Callable[[Observer], None]) -> None:
        for observer in self._others:
            try:
                event(observer)
            except (OSError, ValueError):
                pass  # the terminal is gone, its disk is full, or it lacks a character
            except Exception as error:
                name = type(observer).__name__
                warnings.warn(f"the observer {name} failed: {error!r}", stacklevel=2)
