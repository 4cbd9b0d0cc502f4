"""Client programs of this host, such as ssh and srun, each with an agent at its other end.

The standard input of a client carries the token and stays open as the lifeline of the agent: it
closes when this process dies, however it dies, and the agent leaves. A client runs in a session of
its own, so that Ctrl-C reaches this process alone.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from typing import IO, Final, NamedTuple

from coordinator.cluster.launchers.launcher import last_line
from protocol import RunError

LEAVE_SECONDS: Final = 5.0
"""How long a client may take to end after its input has closed."""
KILL_SECONDS: Final = 1.0
QUERY_SECONDS: Final = 10.0
NOT_FOUND: Final = 127
"""The exit status of a shell that does not find a command."""
MAX_OUTPUT: Final = 1 << 20
"""The bytes at the end of a client's output that are read."""
JOINED: Final = "joined tcp://"
"""The start of the line that an agent prints when it has joined."""


class _Client(NamedTuple):
    process: subprocess.Popen[bytes]
    output: IO[bytes]


class Clients:
    """Starts client programs, reports those that have ended, and leaves none behind."""

    def __init__(self) -> None:
        self._clients: dict[str, _Client] = {}

    def start(self, name: str, command: Sequence[str], token: str) -> None:
        """Run `command` as the client `name`. Raises RunError where the program does not start."""
        output = tempfile.TemporaryFile()  # noqa: SIM115  closed with the client
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            output.close()
            raise RunError(f"{command[0]}: {error.strerror}") from None
        self._clients[name] = _Client(process, output)
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the client has died: `ended` reports it
            process.stdin.write(f"{token}\n".encode())
            process.stdin.flush()

    def ended(self) -> list[str]:
        """The clients that have ended, each with its exit status and its last line of output."""
        return [
            f"{name}: {_exit_text(client.process.returncode)}: {_last_output(client.output)}"
            for name, client in self._clients.items()
            if client.process.poll() is not None
        ]

    def last_output(self) -> dict[str, str]:
        """The last line that each client has printed, by its name."""
        return {name: _last_output(client.output) for name, client in self._clients.items()}

    def not_joined(self) -> list[str]:
        """The clients whose agent has not printed that it joined."""
        return [name for name, client in self._clients.items() if not _has_joined(client.output)]

    def close(self) -> None:
        """Close the input of all clients, then end those that do not leave by themselves."""
        for client in self._clients.values():
            assert client.process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                client.process.stdin.close()
        deadline = time.monotonic() + LEAVE_SECONDS
        for client in self._clients.values():
            _end(client.process, max(0.0, deadline - time.monotonic()))
            client.output.close()
        self._clients.clear()


def query(program: str, *arguments: str, text: str = "") -> str:
    """What `program` prints for its arguments, with `text` on its standard input.

    Raises RunError where the program is missing, fails, or does not end within `QUERY_SECONDS`.
    """
    try:
        done = subprocess.run(
            [program, *arguments],
            input=text,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
            timeout=QUERY_SECONDS,
            start_new_session=True,  # this process handles Ctrl-C
        )
    except OSError as error:
        raise RunError(f"{program}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise RunError(f"{program}: no answer within {QUERY_SECONDS:.0f} s") from None
    if done.returncode:
        raise RunError(f"{program}: {last_line(done.stderr or done.stdout)}")
    return done.stdout


def _end(process: subprocess.Popen[bytes], seconds: float) -> None:
    for end, patience in ((process.terminate, seconds), (process.kill, KILL_SECONDS)):
        try:
            process.wait(patience)
            return
        except subprocess.TimeoutExpired:
            end()
    process.wait()


def _exit_text(status: int) -> str:
    if status == NOT_FOUND:
        return "ended with status 127; --remote-command sets the command that starts dni there"
    return f"ended with status {status}"


def _text(output: IO[bytes]) -> str:
    """The end of the output, read without moving the position at which the client writes."""
    size = os.fstat(output.fileno()).st_size
    end = os.pread(output.fileno(), MAX_OUTPUT, max(0, size - MAX_OUTPUT))
    return end.decode("utf-8", "replace")


def _last_output(output: IO[bytes]) -> str:
    return last_line(_text(output))


def _has_joined(output: IO[bytes]) -> bool:
    return any(line.startswith(JOINED) for line in _text(output).splitlines())
