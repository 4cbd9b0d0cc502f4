"""A file that a user names for output: a regular one appears whole, any other is written to."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO, TextIO

from coordinator.run_folder.layout import write_atomically
from protocol import RunError


def is_stdout(path: Path) -> bool:
    """Whether `path` names what standard output leads to, as /dev/stdout does."""
    with suppress(OSError):
        return os.path.samestat(path.stat(), os.fstat(1))
    return False


def is_special(path: Path) -> bool:
    """Whether `path` exists and is neither a regular file nor a link to one: a pipe or a device."""
    with suppress(OSError):
        return not stat.S_ISREG(path.stat().st_mode)
    return False


def write_output(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` make what `path` is to hold.

    A regular file is replaced when all of it is written; symbolic links to it stay. A pipe, a
    device and standard output are written to; it is no error if their reader goes away. Raises
    RunError where the file cannot be written.
    """
    try:
        if is_stdout(path):
            sys.stdout.flush()
            write(sys.stdout.buffer)
            sys.stdout.buffer.flush()
        elif is_special(path):
            _write_file(path, write)
        else:
            write_atomically(Path(os.path.realpath(path)), lambda part: _write_file(part, write))
    except BrokenPipeError:
        pass
    except OSError as error:
        raise RunError(f"{path}: {error.strerror}") from None


def write_output_text(path: Path, write: Callable[[TextIO], object]) -> None:
    """The same for text, in UTF-8."""

    def encode(file: BinaryIO) -> None:
        text = TextIOWrapper(file, "utf-8", newline="")
        try:
            write(text)
        finally:
            text.detach()  # else it closes the file, which may be standard output

    write_output(path, encode)


def _write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    with path.open("wb") as file:
        write(file)
