"""Workers as processes of this machine, and the folder in which their sockets lie.

A worker's standard input is its lifeline: it brings the configuration and, as nobody else holds its
other end, it closes when this process dies, however it dies.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from coordinator import blas
from coordinator.events import Exited
from protocol import RunError

KILL_SECONDS: Final = 0.4
LONGEST_BASE: Final = 60
"""Bytes; a socket's path has at most 107, and the folder's and the socket's names want theirs."""
LOCK: Final = "lock"
MAKING_SECONDS: Final = 60
"""A folder for sockets is made and locked in far less; one of this age has lost its owner."""
LOG_LINES: Final = 12
WORKER: Final = ("-P", "-m", "dni_command", "worker")
"""What Python is told to be a worker; its name comes behind."""
ALLOCATOR: Final = {
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "1073741824",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
"""Lets glibc keep the memory of arrays that come and go with every batch, instead of returning
it to the kernel and faulting it in again page by page; and have it in huge pages where the kernel
gives such, for with several workers a core each finds its pages' addresses forgotten."""


class SocketFolder:
    """A folder that only the user can enter, gone when it is closed.

    It lies in the first of `_bases` that will do; RunError says what is wrong with each where none
    does. Its lock tells whether its owner lives; what owners left that were killed is swept away.
    """

    def __init__(self) -> None:
        self._lock: int | None = None
        wrong = []
        for base in _bases():
            try:
                self.path = self._make(base)
                return
            except OSError as error:
                wrong.append(f"{base}: {error.strerror}")
        raise RunError(
            f"no folder for sockets: {'; '.join(wrong)}; set TMPDIR to a folder that can be "
            f"written to and whose path has at most {LONGEST_BASE} bytes"
        )

    def _make(self, base: Path) -> Path:
        """The folder, in `base`. Raises OSError where `base` will not do."""
        if len(os.fsencode(base)) > LONGEST_BASE:
            raise OSError(errno.ENAMETOOLONG, "too long a path for sockets")
        _sweep(base)
        made = Path(tempfile.mkdtemp(prefix=f".dni-{os.getpid()}-", dir=base))
        path = made.with_name(made.name[1:])  # once it is locked: see _sweep
        try:
            self._lock = _lock(made, make=True)
            if self._lock is None:
                why = "swept away while it was made; is the clock right?"
                raise OSError(errno.EBUSY, why)
            made.rename(path)
        except BaseException:  # whatever it is, Ctrl-C too, no folder is left
            for folder in (made, path):
                shutil.rmtree(folder, ignore_errors=True)
            self._unlock()
            raise
        return path

    def close(self) -> None:
        """Remove it with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
        self._lock = None


class Processes:
    """Starts workers, sees them end, and leaves none behind.

    What they print goes into `logs`; they remove `folders` where this process dies first.
    """

    def __init__(self, logs: Path, threads: int, *folders: Path) -> None:
        own = {"DNI_FOLDER": os.pathsep.join(map(str, folders))}
        self._environment = ALLOCATOR | blas.environment(threads) | own
        self._logs = logs
        self._workers: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, config: Mapping[str, object]) -> None:
        """Start the worker `name`; `config` is that of `workers.shell`."""
        with self._log(name).open("wb") as log:
            worker = subprocess.Popen(
                [sys.executable, *WORKER, name],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )
        self._workers[name] = worker
        assert worker.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died already: `exits` tells
            worker.stdin.write(json.dumps(config).encode() + b"\n")
            worker.stdin.flush()

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
        """Wait a little for those who were told to leave; kill the others."""
        deadline = time.monotonic() + KILL_SECONDS
        for name, worker in list(self._workers.items()):
            try:
                worker.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
            self._forget(name)


def _bases() -> Iterator[Path]:
    """Where folders for sockets and shared memory may go: into memory first, where that can be.

    An XDG_RUNTIME_DIR that is not absolute is no such place (freedesktop.org's specification).
    """
    for place in (os.environ.get("XDG_RUNTIME_DIR", ""), "/dev/shm"):
        if Path(place).is_absolute():
            yield Path(place)
    with contextlib.suppress(FileNotFoundError):  # there is none that can be written to
        yield Path(tempfile.gettempdir())


def _lock(folder: Path, make: bool = False) -> int | None:
    """Hold the lock of `folder` for as long as the descriptor is open; None where another does."""
    flags = os.O_RDWR | os.O_NOFOLLOW | (os.O_CREAT if make else 0)
    descriptor = os.open(folder / LOCK, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _sweep(base: Path) -> None:
    """Remove what runs left that were killed together with all their workers.

    Folders have their names once they are locked: one without a lock is somebody else's, and a
    hidden one without is being made, if it is not too old for that.
    """
    for folder in (*base.glob("dni-[0-9]*-*"), *base.glob(".dni-[0-9]*-*")):
        with contextlib.suppress(OSError):
            status, hidden = folder.lstat(), folder.name[0] == "."
            young = time.time() - status.st_mtime < MAKING_SECONDS
            if status.st_uid != os.getuid() or (hidden and young):
                continue
            descriptor = _lock(folder, make=hidden)
            if descriptor is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(descriptor)
