"""How this program is called, for lines that a person can copy."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Final

from coordinator.console.standard_streams import spelled

NAME: Final = "dni"
ROOT: Final = Path(__file__).resolve().parent.parent
MODULE: Final = "dni_command"
"""The module in `ROOT` that Python can be told to run."""


def program() -> str:
    """What a person types to call this program from the current folder, as it was called.

    `dni` where a shell finds this installation by that name, else its path, such as
    `.venv/bin/dni`; so for another name that leads to it. `python -m dni_command` where it was
    called in this way.
    """
    called = Path(sys.argv[0])
    if not called.is_file():
        return NAME
    real = called.resolve()
    if real == ROOT / f"{MODULE}.py":
        return f"{_typed(Path(sys.executable))} -m {MODULE}"
    return _typed(called) if NAME in (called.name, real.name) else NAME


def _typed(called: Path) -> str:
    """What a person types to call the program at `called`: its name where that finds it."""
    found = shutil.which(called.name)
    if found and Path(found).resolve() == called.resolve():
        return shlex.quote(called.name)
    relative = os.path.relpath(called)
    if relative.startswith(".."):
        return shlex.quote(str(called.absolute()))
    return shlex.quote(relative if os.sep in relative else f"./{relative}")


def quoted(path: Path, encoding: str) -> str:
    """`path` as a word for a shell, in characters that `encoding` has and a terminal shows.

    One that has others is written as `$'…'`, which bash, ksh and zsh read. One that begins with
    `-` is no option.
    """
    text = f"./{path}" if str(path).startswith("-") else str(path)
    if text.isprintable() and spelled(text, encoding) == text:
        return shlex.quote(text)
    return "$'" + "".join(map(_escaped, os.fsencode(text))) + "'"


def _escaped(byte: int) -> str:
    plain = chr(byte).isprintable() and byte < 128 and chr(byte) not in "'\\"
    return chr(byte) if plain else f"\\x{byte:02x}"


def next_steps(run: Path, encoding: str) -> str:
    """The commands with which a person goes on from a run that left its weights in `run`."""
    dni, folder = program(), quoted(run, encoding)
    return f"next: {dni} evaluate {folder} | {dni} trace stats {folder} | {dni} --help"
