"""Processes that `tests.fork_server` forks, with the interface of `subprocess.Popen`."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Final, Protocol, TypeAlias

import psutil

NUMBER: Final = struct.Struct("<i")
LENGTH: Final = struct.Struct("<I")
PARENT: Final = "parent="
BASE: Final = "base="
TITLE: Final = "dni"
DNI: Final = ("-P", "-m", "dni_command")

Stream: TypeAlias = int | IO[bytes]
Limits: TypeAlias = Mapping[str, Mapping[str, float]]
"""Keyword arguments by the full name of a class, under which the command finds the class."""
AGENT: Final = "coordinator.cluster.agent.Agent"
HEAD: Final = "coordinator.cluster.listen.Head"


@dataclass(frozen=True)
class Request:
    """A process to fork: `title` is its command line, as `ps` shows it.

    `limits` are keyword arguments, such as time limits, for classes that the command makes.
    """

    arguments: tuple[str, ...]
    folder: str
    environment: dict[str, str]
    new_session: bool
    title: str
    limits: dict[str, dict[str, float]]


def send_number(connection: socket.socket, number: int) -> None:
    """Send a process identifier or an exit status."""
    connection.sendall(NUMBER.pack(number))


def _read(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        part = connection.recv(size - len(found))
        if not part:
            raise EOFError("the fork server is gone")
        found += part
    return found


def receive(connection: socket.socket) -> tuple[Request, list[int]]:
    """Receive a request, and the file descriptors that become the standard streams."""
    head, descriptors, _, _ = socket.recv_fds(connection, LENGTH.size, 3)
    values = json.loads(_read(connection, LENGTH.unpack(head)[0]))
    return Request(**values | {"arguments": tuple(values["arguments"])}), descriptors


class ForkServer:
    """The server of this process, which starts it when the first process is forked."""

    def __init__(self) -> None:
        self.path = ""
        self._process: subprocess.Popen[bytes] | None = None

    def connect(self) -> socket.socket:
        """Return a connection to the server."""
        if not self.path:
            self._start()
        connection = socket.socket(socket.AF_UNIX)
        deadline = time.monotonic() + 60.0
        while True:
            try:
                connection.connect(self.path)
            except (FileNotFoundError, ConnectionRefusedError):
                assert time.monotonic() < deadline, "the fork server does not start"
                assert self._process is None or self._process.poll() is None, "it has ended"
                time.sleep(0.005)
            else:
                return connection

    def _start(self) -> None:
        self.path = tempfile.mkdtemp(prefix="fork-", dir="/tmp") + "/server"
        environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.fork_server", self.path],
            stdin=subprocess.PIPE,
            env={**environment, "OPENBLAS_NUM_THREADS": "1"},
            cwd=Path(__file__).parents[1],
        )

    def stop(self) -> None:
        """End the server; the processes that it forked go on."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()
            Path(self.path).unlink(missing_ok=True)
            Path(self.path).parent.rmdir()
            self._process, self.path = None, ""


SERVER: Final = ForkServer()


class CommandProcess(Protocol):
    """A `dni` under way, forked or executed."""

    pid: int

    def poll(self) -> int | None:
        """The exit status, None while the process lives."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit status. Raises subprocess.TimeoutExpired."""

    def send_signal(self, sig: int) -> None:
        """Send a signal to the process, where it lives."""

    def terminate(self) -> None:
        """Send SIGTERM."""

    def kill(self) -> None:
        """Send SIGKILL."""


class Forked:
    """A `dni` with `arguments`, forked by `SERVER`; used like a `subprocess.Popen`."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        streams: Sequence[Stream],
        folder: Path | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Start it as the leader of a session, with `streams` as its standard streams."""
        self.args = tuple(arguments)
        self.returncode: int | None = None
        title = [f"{PARENT}{os.getpid()}", f"{BASE}{environment.get('XDG_RUNTIME_DIR', '')}"]
        request = Request(
            self.args,
            str(folder or Path.cwd()),
            dict(environment),
            True,
            " ".join([TITLE, *title, *DNI, *arguments]),
            {name: dict(values) for name, values in (limits or {}).items()},
        )
        data = json.dumps(asdict(request)).encode()
        self._connection = SERVER.connect()
        files = [each if isinstance(each, int) else each.fileno() for each in streams]
        socket.send_fds(self._connection, [LENGTH.pack(len(data))], files)
        self._connection.sendall(data)
        self.pid: int = self._number()

    def _number(self) -> int:
        number: int = NUMBER.unpack(_read(self._connection, NUMBER.size))[0]
        return number

    def poll(self) -> int | None:
        """The exit status, None while the process lives."""
        if self.returncode is None and select.select([self._connection], [], [], 0)[0]:
            self._end()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit status. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            self._end()
        assert self.returncode is not None
        return self.returncode

    def _end(self) -> None:
        self.returncode = self._number()
        self._connection.close()

    def send_signal(self, sig: int) -> None:
        """Send a signal to the process, where it lives."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, sig)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def run_with_pipes(arguments: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    """Run `dni` with `arguments` to its end; its outputs are pipes, and are returned."""
    pipes = [os.pipe() for _ in range(2)]
    with Path(os.devnull).open("rb") as nothing:
        process = Forked(arguments, os.environ, (nothing, *(writer for _, writer in pipes)))
    for _, writer in pipes:
        os.close(writer)
    with ThreadPoolExecutor() as pool:
        outputs = list(pool.map(_read_all, (reader for reader, _ in pipes)))
    return subprocess.CompletedProcess(arguments, process.wait(60), *outputs)


def _read_all(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


class ForkedWorker(Forked):
    """A forked worker, with a pipe to its standard input."""

    def __init__(self, name: str, environment: Mapping[str, str], log: IO[bytes]) -> None:
        reader, writer = os.pipe()
        try:
            super().__init__(("worker", name), environment, (reader, log, log))
        except BaseException:
            os.close(writer)
            raise
        finally:
            os.close(reader)
        self.stdin: IO[bytes] | None = os.fdopen(writer, "wb")


def command_line(process: psutil.Process) -> list[str]:
    """The arguments of `process`; those of a forked one are the words of its title."""
    line = process.cmdline()
    return line[0].split() if line and line[0].startswith(f"{TITLE} ") else line


def workers_of(parent: int) -> dict[str, psutil.Process]:
    """The workers that the process `parent` started and that still live, by name."""
    found = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            line = command_line(process)
            if line[-2:-1] == ["worker"] and parent in (process.ppid(), _forked_by(line)):
                found[line[-1]] = process
    return found


def _forked_by(line: Sequence[str]) -> int:
    return int(line[1].removeprefix(PARENT)) if line[0] == TITLE else 0


def base_of(process: psutil.Process) -> str:
    """The XDG_RUNTIME_DIR that `process` was started with."""
    line = command_line(process)
    if line[:1] == [TITLE]:
        return line[2].removeprefix(BASE)
    return process.environ().get("XDG_RUNTIME_DIR", "")
