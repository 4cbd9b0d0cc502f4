"""Programs of this machine, such as ssh and srun, at whose other end an agent runs.

A client's standard input brings the token and is the agent's lifeline: it closes when this process
dies, however it dies, and the agent leaves. A client has a session of its own, so that Ctrl-C
reaches this process alone.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Sequence
from typing import IO, Final, NamedTuple

from coordinator.engines.launch import last_words
from protocol import RunError

LEAVE_SECONDS: Final = 5.0
"""How long a client may take to end after its input has closed."""
KILL_SECONDS: Final = 1.0


class _Client(NamedTuple):
    process: subprocess.Popen[bytes]
    output: IO[bytes]


class Clients:
    """Starts clients, sees them end, and leaves none behind."""

    def __init__(self) -> None:
        self._clients: dict[str, _Client] = {}

    def start(self, name: str, command: Sequence[str], token: str) -> None:
        """Run `command`, which errors call `name`. Raises RunError where there is no such."""
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
        with contextlib.suppress(BrokenPipeError):  # it died already: `gone` tells
            process.stdin.write(f"{token}\n".encode())
            process.stdin.flush()

    def gone(self) -> list[str]:
        """The clients that have ended, how, and their last words."""
        return [
            f"{name}: ended with status {client.process.returncode}: {_words(client.output)}"
            for name, client in self._clients.items()
            if client.process.poll() is not None
        ]

    def close(self) -> None:
        """Close the lifelines; end those who do not leave by themselves."""
        for client in self._clients.values():
            assert client.process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                client.process.stdin.close()
        deadline = time.monotonic() + LEAVE_SECONDS
        for client in self._clients.values():
            _end(client.process, max(0.0, deadline - time.monotonic()))
            client.output.close()
        self._clients.clear()


def _end(process: subprocess.Popen[bytes], seconds: float) -> None:
    for end, patience in ((process.terminate, seconds), (process.kill, KILL_SECONDS)):
        try:
            process.wait(patience)
            return
        except subprocess.TimeoutExpired:
            end()
    process.wait()


def _words(output: IO[bytes]) -> str:
    output.seek(0)
    return last_words(output.read().decode("utf-8", "replace"))
