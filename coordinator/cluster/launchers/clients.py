"""Programs of this machine, such as ssh and srun, at whose other end an agent runs.

A client's standard input brings the token and is the agent's lifeline: it closes when this process
dies, however it dies, and the agent leaves. A client has a session of its own, so that Ctrl-C
reaches this process alone.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from typing import IO, Final, NamedTuple

from coordinator.cluster.launchers.launcher import last_words
from protocol import RunError

LEAVE_SECONDS: Final = 5.0
"""How long a client may take to end after its input has closed."""
KILL_SECONDS: Final = 1.0
ASK_SECONDS: Final = 10.0
NOT_FOUND: Final = 127
"""The exit status of a shell that does not find a command."""
MOST_OUTPUT: Final = 1 << 20
"""Bytes of a client's output that are looked at."""
JOINED: Final = "joined tcp://"
"""How the line of an agent begins that says that it has joined."""


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
            f"{name}: {_ending(client.process.returncode)}: {_words(client.output)}"
            for name, client in self._clients.items()
            if client.process.poll() is not None
        ]

    def printed(self) -> dict[str, str]:
        """What each client printed last."""
        return {name: _words(client.output) for name, client in self._clients.items()}

    def missing(self) -> list[str]:
        """The clients through which no agent has joined."""
        return [name for name, client in self._clients.items() if not _joined(client.output)]

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


def asked(program: str, *words: str, text: str = "") -> str:
    """What a program answers to `words` and the `text` on its input. Raises RunError."""
    try:
        done = subprocess.run(
            [program, *words],
            input=text,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
            timeout=ASK_SECONDS,
            start_new_session=True,  # Ctrl-C is for this process to handle
        )
    except OSError as error:
        raise RunError(f"{program}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise RunError(f"{program}: no answer within {ASK_SECONDS:.0f} s") from None
    if done.returncode:
        raise RunError(f"{program}: {last_words(done.stderr or done.stdout)}")
    return done.stdout


def _end(process: subprocess.Popen[bytes], seconds: float) -> None:
    for end, patience in ((process.terminate, seconds), (process.kill, KILL_SECONDS)):
        try:
            process.wait(patience)
            return
        except subprocess.TimeoutExpired:
            end()
    process.wait()


def _ending(status: int) -> str:
    if status == NOT_FOUND:
        return "ended with status 127; --remote-command says what starts dni there"
    return f"ended with status {status}"


def _text(output: IO[bytes]) -> str:
    """The end of what was printed; read where the client's own position in the file stays."""
    size = os.fstat(output.fileno()).st_size
    end = os.pread(output.fileno(), MOST_OUTPUT, max(0, size - MOST_OUTPUT))
    return end.decode("utf-8", "replace")


def _words(output: IO[bytes]) -> str:
    return last_words(_text(output))


def _joined(output: IO[bytes]) -> bool:
    """Whether an agent has printed that it joined."""
    return any(line.startswith(JOINED) for line in _text(output).splitlines())
