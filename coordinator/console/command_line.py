"""Shell commands of this program that a user can copy."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Final

from coordinator.console.standard_streams import transliterate

NAME: Final = "dni"
ROOT: Final = Path(__file__).resolve().parents[2]
MODULE: Final = "dni_command"
"""The module in `ROOT` that `python -m` runs."""


def program() -> str:
    """The command that runs this program from the current folder, as the user ran it.

    `dni` if the shell finds this installation by that name, else its path, such as
    `.venv/bin/dni`, also under another name that links to it. `python -m dni_command` if the
    program was run that way.
    """
    called = Path(sys.argv[0])
    if not called.is_file():
        return NAME
    real = called.resolve()
    if real == ROOT / f"{MODULE}.py":
        return f"{_command(Path(sys.executable))} -m {MODULE}"
    return _command(called) if NAME in (called.name, real.name) else NAME


def _command(path: Path) -> str:
    """The command that runs the program at `path`: its name if the shell finds it by name."""
    found = shutil.which(path.name)
    if found and Path(found).resolve() == path.resolve():
        return shlex.quote(path.name)
    relative = os.path.relpath(path)
    if relative.startswith(".."):
        return shlex.quote(str(path.absolute()))
    return shlex.quote(relative if os.sep in relative else f"./{relative}")


def quoted(path: Path, encoding: str) -> str:
    """Quote `path` for a shell, in printable characters that `encoding` has.

    A path with other characters is written as `$'…'`, which bash, ksh and zsh read. A path that
    begins with `-` gets the prefix `./`, so that it is not an option.
    """
    text = f"./{path}" if str(path).startswith("-") else str(path)
    if text.isprintable() and transliterate(text, encoding) == text:
        return shlex.quote(text)
    return "$'" + "".join(map(_escaped, os.fsencode(text))) + "'"


def _escaped(byte: int) -> str:
    plain = chr(byte).isprintable() and byte < 128 and chr(byte) not in "'\\"
    return chr(byte) if plain else f"\\x{byte:02x}"


def next_steps(run: Path, encoding: str) -> str:
    """Suggest commands for the completed run in the folder `run`."""
    dni, folder = program(), quoted(run, encoding)
    return f"next: {dni} evaluate {folder} | {dni} trace stats {folder} | {dni} --help"
