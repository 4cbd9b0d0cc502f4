"""Standard streams to which everything can be printed, whatever they are and can encode.

Imports nothing of ours: the command line prepares the streams before anything else.
"""

from __future__ import annotations

import codecs
import os
import select
import sys
from contextlib import suppress
from typing import Final

ERRORS: Final = "dni.spelled"
"""The name of the error handler for characters that an encoding lacks."""
_ONE_FOR_ONE: Final = zip(
    "µμ×·–—‘’“”↑↓↕█■▓▒░◆─━╸╺│├└",  # noqa: RUF001
    "uux.--''\"\"^v|#=*%:@----|++",
    strict=True,
)
SPELLINGS: Final = {**dict(_ONE_FOR_ONE), "…": "...", "±": "+-", "→": "->", "←": "<-"}
"""ASCII for what our output has beyond it; any other character becomes an escape."""


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    wrong = error.object[error.start : error.end]
    return "".join(SPELLINGS.get(c) or _escape(c) for c in wrong), error.end


def _escape(character: str) -> str:
    return character.encode("ascii", "backslashreplace").decode("ascii")


codecs.register_error(ERRORS, _spell)


def spelled(text: str, encoding: str) -> str:
    """`text` with an ASCII spelling or an escape for each character that `encoding` lacks."""
    return text if text.isascii() else text.encode(encoding, ERRORS).decode(encoding)


def forgive(stream: object) -> None:
    """Let `stream` spell what it cannot encode instead of raising; one that cannot is left."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        with suppress(OSError, ValueError):  # it is closed, or its disk is full
            reconfigure(errors=ERRORS)


def prepare() -> None:
    """Make the three standard streams usable: a closed one leads nowhere, and none raises for text.

    A closed descriptor is taken, so that no file of a run gets its number and what libraries print.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            if _closed(number):
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number
            mode = "w" if number else "r"
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
    forgive(sys.stdout)
    forgive(sys.stderr)


def drop_abandoned() -> bool:
    """Let standard output and error lead nowhere where their reader has gone away; whether one has.

    What is still in their buffers is then no error when the interpreter ends.
    """
    gone = [number for number in (1, 2) if _abandoned(number)]
    for number in gone:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)
    return bool(gone)


def _abandoned(descriptor: int) -> bool:
    """Whether `descriptor` is the end of a pipe or socket that nobody reads any more."""
    waiting = select.poll()
    waiting.register(descriptor, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in waiting.poll(0))


def _closed(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return True
    return False
