"""Foreign text that is safe to show: it cannot move the cursor, hide, or forge a line."""

from __future__ import annotations

import unicodedata
from contextlib import suppress
from typing import Final

_HIDDEN: Final = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories of characters that act or are invisible: control and format characters, which
include bidi overrides and zero-width characters, lone surrogates, line and paragraph separators."""


def printable(text: str) -> str:
    r"""`text` with visible escapes, such as `\x1b` or `\u202e`, for hidden characters.

    Bytes that the locale could not decode, as in a file name, are decoded as UTF-8 where they can
    be.
    """
    if text.isprintable():
        return text
    with suppress(UnicodeError):
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    if unicodedata.category(character) in _HIDDEN:
        return character.encode("unicode_escape", "surrogatepass").decode("ascii")
    return character
