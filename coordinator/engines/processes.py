"""Workers as processes of this host.

The standard input of a worker brings its configuration. It is also the worker's lifeline: no other
process holds its other end, so it closes when this process dies, however it dies.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Final, Protocol

from coordinator.lifecycle.events import WorkerExited
from coordinator.resources import blas

KILL_SECONDS: Final = 0.4
LOG_LINES: Final = 12
WORKER: Final = ("-P", "-m", "dni_command", "worker")
"""Arguments of Python for a worker; its name follows."""
ALLOCATOR: Final = {
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "1073741824",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
"""Settings of glibc. The memory of arrays that are allocated anew for every batch is kept, and not
returned to the kernel and faulted in again page by page. It lies in huge pages where the kernel has
them: with several workers per processor, fewer page addresses are evicted."""


class Process(Protocol):
    """What `Processes` uses of a `subprocess.Popen`."""

    @property
    def stdin(self) -> IO[bytes] | None:
        """The pipe to the standard input of the process."""

    def poll(self) -> int | None:
        """The exit status, None while the process lives."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit status. Raises subprocess.TimeoutExpired."""

    def kill(self) -> None:
        """Kill the process."""


def start_process(name: str, environment: Mapping[str, str], log: IO[bytes]) -> Process:
    """Start an interpreter as the worker `name`, in a session of its own, with a pipe to it.

    Its output goes to `log`. The test suite replaces this function by one that forks a process
    which has imported the modules.
    """
    return subprocess.Popen(
        [sys.executable, *WORKER, name],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        env=environment,
        start_new_session=True,
    )


class Processes:
    """Starts workers, reports their exits, and leaves none behind.

    Their output goes into `logs`, a log per worker. A worker that survives this process removes
    `folders`. Each gets `threads` threads of the matrix library.
    """

    def __init__(self, logs: Path, threads: int, *folders: Path) -> None:
        own = {"DNI_FOLDER": os.pathsep.join(map(str, folders))}
        self._environment = ALLOCATOR | blas.environment(threads) | own
        self._logs = logs
        self._workers: dict[str, Process] = {}

    def start(self, name: str, config: Mapping[str, object]) -> None:
        """Start the worker `name`; `config` is a `workers.channel.Config`."""
        with self._log_path(name).open("wb") as log:
            worker = start_process(name, self._environment, log)
        self._workers[name] = worker
        assert worker.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died already: `exits` reports it
            worker.stdin.write(json.dumps(config).encode() + b"\n")
            worker.stdin.flush()

    def _log_path(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def exits(self) -> Iterator[WorkerExited]:
        """The workers that ended since the last call."""
        for name, worker in list(self._workers.items()):
            status = worker.poll()
            if status is not None:
                self._forget(name)
                yield WorkerExited(name, status, self._log_tail(name))

    def _log_tail(self, name: str) -> str:
        lines = self._log_path(name).read_text("utf-8", "replace").splitlines()
        return "\n".join(lines[-LOG_LINES:])

    def _forget(self, name: str) -> None:
        worker = self._workers.pop(name)
        if worker.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                worker.stdin.close()

    def close(self) -> None:
        """Wait for workers that have got Leave, for a short time; kill the others."""
        deadline = time.monotonic() + KILL_SECONDS
        for name, worker in list(self._workers.items()):
            try:
                worker.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
            self._forget(name)
