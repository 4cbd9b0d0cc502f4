"""Standard streams to which everything can be printed, whatever they are and can encode.

Imports nothing of ours: the command line prepares the streams before anything else.
"""

from __future__ import annotations

import codecs
import os
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


def _closed(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return True
    return False
