"""Text of others that is safe to show: it cannot move the cursor, hide, or forge a line."""

from __future__ import annotations

import unicodedata
from contextlib import suppress
from typing import Final

_HIDDEN: Final = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories that act or are invisible: control and format characters, which include bidi
overrides and zero-width ones, lone surrogates, line and paragraph separators."""
_LINES: Final = "\n\t"


def printable(text: str, *, lines: bool = False) -> str:
    r"""`text` with visible escapes, such as `\x1b` or `\u202e`, for characters that are not shown.

    Newlines and tabs stay as they are if `lines`. Bytes that a locale could not decode, as in a
    file's name, are UTF-8 where they can be.
    """
    if text.isprintable():
        return text
    with suppress(UnicodeError):
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    kept = _LINES if lines else ""
    return "".join(c if c in kept else _visible(c) for c in text)


def _visible(character: str) -> str:
    if unicodedata.category(character) in _HIDDEN:
        return character.encode("unicode_escape", "surrogatepass").decode("ascii")
    return character
