"""A process that has imported every module of the project, and forks the processes of tests.

An interpreter takes a third of a second to start and to import numpy, click and ZeroMQ. A fork of
this server takes milliseconds and is the same process afterwards: arguments, current folder,
environment, standard streams, session and signal handlers are those of the request, and the command
begins and ends as the installed one does. Tests of what happens before the modules are imported
start a real interpreter.

The server answers on a socket, one connection per process: the request, the process identifier, the
exit status. It ends when its standard input closes.
"""

from __future__ import annotations

import gc
import importlib
import os
import pkgutil
import selectors
import signal
import socket
import struct
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final, Literal, TextIO

import setproctitle
from threadpoolctl import threadpool_limits

import coordinator
import dni_command
import protocol
import workers
from coordinator.engines import processes
from tests import forked

PACKAGES: Final = (protocol, workers, coordinator)
OPTIONAL: Final = ("coordinator.cluster.launchers.ray",)
LIBRARIES: Final = (
    "cli",
    "json",
    "numpy.random",
    "rich.live",
    "rich.progress",
    "rich.table",
    "tomllib",
)


def import_all() -> None:
    """Import what any command may need."""
    for package in PACKAGES:
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name not in OPTIONAL:
                importlib.import_module(module.name)
    for name in LIBRARIES:
        importlib.import_module(name)


class Server:
    """Forks a process for every request on `listener`."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._children: dict[int, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._woken, self._wakes = socket.socketpair()

    def serve(self) -> forked.Request | None:
        """Return the request in a child that was forked for it; None when the tests are over."""
        self._register()
        while True:
            for key, _ in self._selector.select():
                if key.fileobj == sys.stdin:
                    return None
                if key.fileobj == self._woken:
                    self._reap()
                elif request := self._fork():
                    return request

    def _register(self) -> None:
        for end in (self._woken, self._wakes):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for source in (sys.stdin, self._listener, self._woken):
            self._selector.register(source, selectors.EVENT_READ)

    def _fork(self) -> forked.Request | None:
        connection, _ = self._listener.accept()
        try:
            request, descriptors = forked.receive(connection)
        except (EOFError, OSError, struct.error):  # the process that sends the request was killed
            connection.close()
            return None
        child = os.fork()
        if child == 0:
            self._close()
            connection.close()
            _redirect(descriptors)
            return request
        for descriptor in descriptors:
            os.close(descriptor)
        self._children[child] = connection
        with suppress(OSError):
            forked.send_number(connection, child)
        return None

    def _close(self) -> None:
        """Close in a child what belongs to the server."""
        signal.set_wakeup_fd(-1)
        for each in (self._listener, self._woken, self._wakes, *self._children.values()):
            each.close()
        self._selector.close()

    def _reap(self) -> None:
        """Report the exit statuses of the children that ended."""
        with suppress(BlockingIOError):
            self._woken.recv(4096)
        with suppress(ChildProcessError):
            while True:
                child, status = os.waitpid(-1, os.WNOHANG)
                if child == 0:
                    return
                connection = self._children.pop(child)
                with suppress(OSError):
                    forked.send_number(connection, os.waitstatus_to_exitcode(status))
                connection.close()


def _redirect(descriptors: Sequence[int]) -> None:
    """Replace the standard streams by `descriptors`, with objects for their file kinds."""
    for stream, descriptor in enumerate(descriptors):
        os.dup2(descriptor, stream)
        os.close(descriptor)
    encoding = sys.stdout.encoding
    errors = sys.stdout.errors or "strict"
    sys.stdin = _stream(0, "r", encoding, errors)
    sys.stdout = _stream(1, "w", encoding, errors)
    sys.stderr = _stream(2, "w", encoding, "backslashreplace")


def _stream(number: int, mode: Literal["r", "w"], encoding: str, errors: str) -> TextIO:
    buffering = 1 if number == 2 else -1
    return open(number, mode, buffering, encoding, errors, closefd=False)


def become(request: forked.Request) -> None:
    """Make this process what a new interpreter with the request's arguments would be."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if request.new_session:
        os.setsid()
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environment)
    tempfile.tempdir = None
    threads = int(request.environment.get("OPENBLAS_NUM_THREADS", "1"))
    if threads > 1:
        threadpool_limits(threads)
    for path, limits in request.limits.items():
        module, _, name = path.rpartition(".")
        made = getattr(sys.modules[module], name)
        setattr(sys.modules[module], name, partial(made, **limits))
    sys.argv = [dni_command.__file__, *request.arguments]
    sys.orig_argv = [sys.executable, "-P", "-m", "dni_command", *request.arguments]
    setproctitle.setproctitle(request.title.encode("utf-8", "replace").decode())


def main(path: str) -> None:
    """Listen at `path`; return in a child, with nothing left of the server."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    setproctitle.setproctitle(" ".join([sys.executable, *sys.argv]))  # while the environment is old
    import_all()
    forked.SERVER.path = path
    processes.start_process = forked.ForkedWorker
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        gc.collect()
        gc.freeze()
        request = Server(listener).serve()
    if request:
        become(request)
        dni_command.main()


if __name__ == "__main__":
    main(sys.argv[1])
