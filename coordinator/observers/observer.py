"""Who watches a run: the recorder, the display, and the user's hand on Ctrl-C."""

from __future__ import annotations

import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final, Protocol

from coordinator.observers.recorder import Recorder
from coordinator.observers.run_stats import Tally
from coordinator.run_folder import RunFolder
from protocol import Evaluated, Pipeline, Report, State

REFRESH_SECONDS: Final = 0.25
SIGNALS: Final = ("SIGINT", "SIGTERM", "SIGHUP")


class Display(Protocol):
    """What a person sees of a run while it goes on."""

    def begin(self, tally: Tally, threads: int) -> None:
        """The run starts, with so many threads for the matrix library of each worker."""

    def refresh(self, tally: Tally) -> None:
        """Show how things stand; called a few times a second."""

    def evaluated(self, tally: Tally, step: int) -> None:
        """A pass over the test set is complete."""

    def end(self) -> None:
        """Nothing more comes; called exactly once."""


class Interrupts:
    """How often, and by which signal last, the user asked for an end."""

    def __init__(self) -> None:
        self.count = 0
        self.signal = 0

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.count += 1
        self.signal = number


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Signals are counted instead of obeyed; outside the main thread nothing is changed.

    A signal that is ignored stays ignored, as `nohup` and a shell's `&` want it. A handler that was
    not installed from Python stays too: it could not be put back.
    """
    seen = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return
    known = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
    counted = [number for number in known if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    before = [(number, signal.signal(number, seen._note)) for number in counted]
    try:
        yield seen
    finally:
        for number, handler in before:
            signal.signal(number, handler)


class Watch:
    """All watchers together."""

    def __init__(
        self, folder: RunFolder, recorder: Recorder, display: Display, seen: Interrupts
    ) -> None:
        self.interrupts = seen
        self._folder = folder
        self._recorder = recorder
        self._display = display
        self._due = 0.0

    def begin(self, threads: int) -> None:
        """The run starts."""
        self._show(lambda tally: self._display.begin(tally, threads))

    @property
    def folder(self) -> Path:
        """Where the run leaves its files."""
        return self._folder.path

    def start(self) -> None:
        """The workers have started: from here on a failure is one of the run, and recorded."""
        self._folder.keep()

    def hosts_joined(self, pipeline: Pipeline) -> None:
        """The wait for hosts is over; layers are divided among workers as in `pipeline`."""
        self._recorder.start(pipeline)

    def end(self) -> None:
        """Nothing more comes."""
        self._show(lambda _: self._display.end())

    def record(self, message: Report | Evaluated | State) -> None:
        """Keep what a worker said. Raises OSError where the disk does not let it."""
        self._recorder.add(message)
        if isinstance(message, Evaluated):
            self._show(lambda tally: self._display.evaluated(tally, message.step))

    def tick(self) -> None:
        """Refresh the display, where it is time."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + REFRESH_SECONDS
            self._show(self._display.refresh)

    def _show(self, show: Callable[[Tally], None]) -> None:
        """Training does not end because what it shows cannot be written, encoded or drawn."""
        try:
            show(self._recorder.tally)
        except (OSError, ValueError):  # full, gone, closed, or of another encoding
            pass
        except Exception as error:
            warnings.warn(f"the display failed: {error!r}", stacklevel=2)
