"""Write output to a file that the user names: a regular file appears complete or not at all."""

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
    """Whether `path` is the same file as standard output, as /dev/stdout is."""
    with suppress(OSError):
        return os.path.samestat(path.stat(), os.fstat(1))
    return False


def is_special(path: Path) -> bool:
    """Whether `path` exists and is neither a regular file nor a link to one: a pipe or a device."""
    with suppress(OSError):
        return not stat.S_ISREG(path.stat().st_mode)
    return False


def write_output(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Call `write` with a file for the content of `path`.

    A regular file is replaced once its content is complete; symbolic links to it stay. A pipe, a
    device and standard output are written directly; a reader that closes them is not an error.
    Raises RunError if the file cannot be written.
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
    """Call `write` with a UTF-8 text file; otherwise like `write_output`."""

    def encode(file: BinaryIO) -> None:
        text = TextIOWrapper(file, "utf-8", newline="")
        try:
            write(text)
        finally:
            text.detach()  # closing the text file would close standard output

    write_output(path, encode)


def _write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    with path.open("wb") as file:
        write(file)
