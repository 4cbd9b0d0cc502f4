"""Workers as processes on this machine, with sockets in a folder that only the user can enter."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from coordinator import blas
from coordinator.record import LOGS, TRACE
from coordinator.run import Exited
from protocol import Pipeline, RunError
from protocol.clock import clock_name

KILL_SECONDS: Final = 0.4
LONGEST_BASE: Final = 60
"""Bytes; a socket's path has at most 107, and the folder's and the socket's names want theirs."""
LOCK: Final = "lock"
LOG_LINES: Final = 12
MUCH: Final = 0.75
"""The share of the slowest layer's work from which a layer counts as slow itself."""
STEP_BACK: Final = 4
ALLOCATOR: Final = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "1073741824"}
"""Lets glibc keep the memory of arrays that come and go with every batch, instead of returning
it to the kernel and faulting it in again page by page."""


class LocalEngine:
    """Starts workers, sees them end, and leaves nothing behind.

    A worker's standard input is its lifeline: it brings the configuration and, as nobody else
    holds its other end, it closes when this process dies, however it dies.
    """

    def __init__(self, run: Path, threads: int, costs: Mapping[str, float]) -> None:
        """`run` is the run's folder; `costs` the work of each layer a batch, in any unit."""
        self._logs = run / LOGS
        self._trace = run / TRACE
        self._threads = threads
        self._costs = costs
        self._workers: dict[str, subprocess.Popen[bytes]] = {}
        base = _base()
        _sweep(base)
        if len(os.fsencode(base)) > LONGEST_BASE:
            raise RunError(f"{base}: too long a path for sockets; set TMPDIR to a shorter one")
        self._folder = Path(tempfile.mkdtemp(prefix=f"dni-{os.getpid()}-", dir=base))
        (self._folder / LOCK).touch()
        self._lock = _lock(self._folder)
        self.control = self._endpoint("control")

    def _endpoint(self, name: str) -> str:
        return f"ipc://{self._folder}/{name}"

    def start(self, pipeline: Pipeline) -> None:
        """Start the workers of `pipeline.processes`, each with an inbox for every edge into it."""
        nice = self._nice(pipeline.processes)
        own = {"DNI_FOLDER": str(self._folder)}
        environment = ALLOCATOR | blas.environment(self._threads) | own
        for name, cores in pipeline.processes.items():
            edges = [e for e in pipeline.edges if e.receiver in cores and e.sender not in cores]
            config = {
                "name": name,
                "control": self.control,
                "inboxes": {str(e): self._endpoint(f"{e.receiver}.{e.sender}") for e in edges},
                "nice": nice[name],
                "trace": str(self._trace.resolve()),
                "clock": clock_name(),
            }
            with self._log(name).open("wb") as log:
                worker = subprocess.Popen(
                    [sys.executable, "-P", "-m", "cli", "worker", name],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    start_new_session=True,
                )
            self._workers[name] = worker
            assert worker.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # it died already: `exits` tells
                worker.stdin.write(json.dumps(config).encode() + b"\n")
                worker.stdin.flush()

    def _nice(self, processes: Mapping[str, Sequence[str]]) -> dict[str, int]:
        """The slowest worker sets the pace, so where cores are short the others step back."""
        costs = {
            name: sum(self._costs.get(core, 0.0) for core in cores)
            for name, cores in processes.items()
        }
        much = MUCH * max(costs.values())
        return {name: 0 if cost > much else STEP_BACK for name, cost in costs.items()}

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def exits(self) -> Iterator[Exited]:
        """The workers that ended since the last call."""
        for name, worker in list(self._workers.items()):
            status = worker.poll()
            if status is not None:
                self._forget(name)
                yield Exited(name, status, self._last_words(name))

    def _last_words(self, name: str) -> str:
        lines = self._log(name).read_text("utf-8", "replace").splitlines()
        return "\n".join(lines[-LOG_LINES:])

    def _forget(self, name: str) -> None:
        worker = self._workers.pop(name)
        if worker.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                worker.stdin.close()

    def close(self) -> None:
        """Wait a little for those who were told to leave; kill the others; clean up."""
        deadline = time.monotonic() + KILL_SECONDS
        for name, worker in list(self._workers.items()):
            try:
                worker.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
            self._forget(name)
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)


def _base() -> Path:
    """Where folders for sockets and shared memory go: into memory, where there is such a place."""
    for place in (os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm"):
        if place and os.access(place, os.W_OK | os.X_OK):
            return Path(place)
    return Path(tempfile.gettempdir())


def _lock(folder: Path) -> int | None:
    """Hold the lock of `folder` for as long as the descriptor is open; None where another does."""
    descriptor = os.open(folder / LOCK, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _sweep(base: Path) -> None:
    """Remove what runs left that were killed together with all their workers."""
    for folder in base.glob("dni-*-*"):
        with contextlib.suppress(OSError):
            descriptor = _lock(folder)
            if descriptor is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(descriptor)
