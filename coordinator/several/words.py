"""What the words of `dni join` take from the command line and from standard input."""

from __future__ import annotations

import codecs
import os
import select
import sys
from typing import Final

from protocol import SpecError
from protocol.spec import layer_name
from protocol.text import decoded
from protocol.token import Token

UTF_16: Final = codecs.BOM_UTF16_LE
_BLANK: Final = codecs.BOM_UTF8 + UTF_16 + b"\0 \t\r\n"
"""Bytes of a line that says nothing."""


def wishes(text: str | None) -> tuple[str, ...]:
    """The names of the layers in `2,3`. Raises SpecError."""
    if text is None:
        return ()
    numbers = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() for word in numbers):
        raise SpecError(f"--layers: {text!r} is no list of numbers such as 2,3")
    return tuple(layer_name(int(word)) for word in numbers)


def read_token(word: str) -> Token:
    """The token in `word` or, where that is -, in the first line of standard input that says any.

    Raises SpecError where there is none.
    """
    if word != "-":
        return Token.read(word)
    if sys.stdin is None:
        raise SpecError("token: standard input is closed; pipe the token into it")
    line = b""
    for line in sys.stdin.buffer:
        if line.strip(_BLANK):
            break
    if len(line) % 2 and line.startswith(UTF_16):
        line += b"\0"  # the other half of its last character, which is a line feed
    return Token.read(decoded(line, "token: standard input"))


def input_ended() -> bool:
    """Whether standard input has come to its end; what it still says is passed over."""
    here = sys.stdin.fileno()
    readable, _, _ = select.select([here], [], [], 0)
    return bool(readable) and not os.read(here, 4096)
