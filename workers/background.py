"""A call in a thread of its own, so that a worker goes on reading the coordinator's messages."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")


def call_in_thread(function: Callable[[], Result]) -> Future[Result]:
    """The future result of `function`. The thread does not keep the process from exiting."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # `future.result` raises it in the thread that waits
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
