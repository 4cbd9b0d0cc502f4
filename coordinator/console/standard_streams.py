"""Make the standard streams accept every text, in every state and encoding.

This module imports nothing of the project: the command line prepares the streams first.
"""

from __future__ import annotations

import codecs
import os
import select
import sys
from contextlib import suppress
from typing import Final

ERRORS: Final = "dni.transliterate"
"""The name of the codec error handler for characters that an encoding lacks."""
_ONE_FOR_ONE: Final = zip(
    "µμ×·–—‘’“”↑↓↕█■▓▒░◆─━╸╺│├└",  # noqa: RUF001
    "uux.--''\"\"^v|#=*%:@----|++",
    strict=True,
)
SPELLINGS: Final = {**dict(_ONE_FOR_ONE), "…": "...", "±": "+-", "→": "->", "←": "<-"}
"""The ASCII spelling of the characters that this program prints; others become an escape."""


def _handle_error(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    wrong = error.object[error.start : error.end]
    return "".join(SPELLINGS.get(c) or _escape(c) for c in wrong), error.end


def _escape(character: str) -> str:
    return character.encode("ascii", "backslashreplace").decode("ascii")


codecs.register_error(ERRORS, _handle_error)


def transliterate(text: str, encoding: str) -> str:
    """Replace each character that `encoding` lacks by an ASCII spelling or an escape."""
    return text if text.isascii() else text.encode(encoding, ERRORS).decode(encoding)


def tolerate_characters(stream: object) -> None:
    """Make `stream` transliterate characters that it cannot encode; skip a stream that cannot."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        with suppress(OSError, ValueError):  # it is closed, or its disk is full
            reconfigure(errors=ERRORS)


def prepare_streams() -> None:
    """Make the three standard streams usable: a closed one is redirected to the null device.

    The number of a closed descriptor is occupied too; otherwise a file of the run could get it,
    and with it the output of libraries.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            if _closed(number):
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number
            mode = "w" if number else "r"
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
    tolerate_characters(sys.stdout)
    tolerate_characters(sys.stderr)


def discard_closed_outputs() -> bool:
    """Redirect an output whose reader has gone away to the null device; True if there is one.

    Text left in the buffer is then not an error when the interpreter exits.
    """
    closed = [number for number in (1, 2) if _has_no_reader(number)]
    for number in closed:
        _discard(number)
    return bool(closed)


def discard_output() -> None:
    """Redirect standard output to the null device after a failure to write that was reported.

    The interpreter writes the text left in the buffer when it exits, and would report it again.
    """
    _discard(1)


def _discard(number: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, number)
    os.close(null)


def _has_no_reader(descriptor: int) -> bool:
    """Whether `descriptor` is a pipe or socket whose other end is closed."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _closed(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return True
    return False
