"""Parsing of the arguments of `dni join` and `dni up`, and of their standard input."""

from __future__ import annotations

import codecs
import os
import select
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from protocol import SpecError
from protocol.pipeline import layer_name
from protocol.security.token import Token
from protocol.text import decode_text

UTF_16: Final = codecs.BOM_UTF16_LE
_BLANK: Final = codecs.BOM_UTF8 + UTF_16 + b"\0 \t\r\n"
"""Bytes of a line without a token."""


def preferred_layers(text: str | None) -> tuple[str, ...]:
    """The names of the layers in a list such as `2,3`. Raises SpecError."""
    if text is None:
        return ()
    numbers = [part.strip() for part in text.split(",")]
    if not all(number.isascii() and number.isdigit() for number in numbers):
        raise SpecError(f"--layers: {text!r} is not a list of layer numbers such as 2,3")
    return tuple(layer_name(int(number)) for number in numbers)


def read_token(argument: str) -> Token:
    """The token in `argument`; for -, that in the first line of standard input that is not blank.

    Raises SpecError if there is none.
    """
    if argument != "-":
        return Token.parse(argument)
    if sys.stdin is None:
        raise SpecError("token: standard input is closed; pipe the token into it")
    if sys.stdin.isatty():
        print("paste the line that begins with dni1:", file=sys.stderr, flush=True)
    line = b""
    for line in sys.stdin.buffer:
        if line.strip(_BLANK):
            break
    if len(line) % 2 and line.startswith(UTF_16):
        line += b"\0"  # the other half of its last character, which is a line feed
    return Token.parse(decode_text(line, "token: standard input"))


def stdin_closed() -> bool:
    """Whether standard input is at its end; what can be read before the end is discarded."""
    here = sys.stdin.fileno()
    readable, _, _ = select.select([here], [], [], 0)
    return bool(readable) and not os.read(here, 4096)


def terminal_question(tell: Callable[[str], None]) -> TerminalQuestion | None:
    """A question that is printed with `tell`; None if standard input is not a terminal."""
    try:
        return TerminalQuestion(tell) if sys.stdin.isatty() else None
    except (AttributeError, ValueError):  # standard input is closed
        return None


class TerminalQuestion:
    """A yes-or-no question, answered by a line on the terminal. See `gather.Question`."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._open = False

    def ask(self, text: str) -> None:
        """Print the question; lines that were typed before are discarded."""
        self._line()
        self._open = True
        self._tell(f"{text} [y/N]")

    def answer(self) -> bool | None:
        """Whether the answer is yes; None until there is one."""
        line = self._line() if self._open else None
        if line is None:
            return None
        self._open = False
        return line.strip().lower() in ("y", "yes")

    def _line(self) -> str | None:
        """The line that was typed; None if there is none, or this process is in the background."""
        here = sys.stdin.fileno()
        with suppress(OSError):
            readable, _, _ = select.select([here], [], [], 0)
            if readable and os.tcgetpgrp(here) == os.getpgrp():
                return os.read(here, 4096).decode("utf-8", "replace")
        return None
