"""What is shown, as a terminal or a pipe of a given kind gets it."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console, RenderableType

from coordinator.console.terminal import ENDLESS
from tests.dni import COMMAND

TERMINAL_COLUMNS: Final = (60, 80, 100, 120)
_CODES: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Ended(NamedTuple):
    """A command that ended on a terminal; `text` is what it printed, without codes."""

    status: int
    text: str


def rendered(what: RenderableType, width: int = ENDLESS) -> list[str]:
    """The lines that a console of `width` columns prints; cut or broken by nothing else."""
    console = Console(file=io.StringIO(), width=width, legacy_windows=False)
    with console.capture() as capture:
        console.print(what, crop=False)
    return capture.get().splitlines()


def on_terminal(
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    columns: int,
    rows: int = 24,
) -> Ended:
    """Run `dni` with `arguments` on a terminal of this size, to its end."""
    pid, master = pty.fork()
    if pid == 0:
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(0, termios.TIOCSWINSZ, size)
        os.chdir(folder)
        os.execvpe(COMMAND[0], [*COMMAND, *arguments], {**environment, "TERM": "xterm"})
    data = b"".join(iter(lambda: _read(master), b""))
    os.close(master)
    _, status = os.waitpid(pid, 0)
    text = _CODES.sub("", data.decode("utf-8", "replace")).replace("\r\n", "\n")
    return Ended(os.waitstatus_to_exitcode(status), text)


def _read(master: int) -> bytes:
    try:
        return os.read(master, 1 << 16)
    except OSError:  # so Linux says that the other end was closed
        return b""
