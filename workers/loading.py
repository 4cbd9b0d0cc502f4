"""Reads the data in a thread, so that a worker goes on reading the coordinator's messages."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeAlias, TypeVar

from protocol import Pipeline
from workers.data import Dataset, load

Result = TypeVar("Result")
Load: TypeAlias = Callable[[Pipeline], Dataset]


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


def load_data(pipeline: Pipeline) -> Dataset:
    """Read the pipeline's data; this may download them first. Raises UserError."""
    return load(pipeline.data.name, pipeline.data.path)
