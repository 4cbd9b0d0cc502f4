"""Count the signals and stop requests with which a user interrupts a run."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

SIGNALS: Final = ("SIGINT", "SIGTERM", "SIGHUP")


class InterruptCounter:
    """The number of interrupts so far, and the number of the last signal.

    A stop request on the control socket counts as SIGINT.
    """

    def __init__(self) -> None:
        self.count = 0
        self.signal = 0

    def request_stop(self) -> None:
        """Count a stop request."""
        self.on_signal(signal.SIGINT, None)

    def on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Count a signal; the signature is that of a signal handler."""
        self.count += 1
        self.signal = number


@contextmanager
def count_interrupts() -> Iterator[InterruptCounter]:
    """Count `SIGNALS` instead of letting them end the process; only in the main thread.

    An ignored signal stays ignored, as `nohup` and a shell's `&` require. A handler that was not
    installed from Python stays too, because it could not be restored.
    """
    counter = InterruptCounter()
    if threading.current_thread() is not threading.main_thread():
        yield counter
        return
    known = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
    counted = [number for number in known if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    before = [(number, signal.signal(number, counter.on_signal)) for number in counted]
    try:
        yield counter
    finally:
        for number, handler in before:
            signal.signal(number, handler)
