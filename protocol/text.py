"""Text as editors and shells save it: with byte order marks, in UTF-16, with any line ends."""

from __future__ import annotations

import codecs
import re
import unicodedata
from pathlib import Path
from typing import Final

from protocol.errors import SpecError
from protocol.paths import short

LARGEST: Final = 1 << 24
"""Bytes; no file that a person writes is larger."""
MARK: Final = "\ufeff"
_END: Final = re.compile(r"\x1a[\x1a\s]*\Z")
_ODD: Final = re.compile(r"[^\t\n -~]")
_NAMES: Final = {
    MARK: "a byte order mark",
    "\x1a": "Ctrl-Z",
    "\xa0": "a no-break space",
    "\u200b": "a zero-width space",
}
_STRINGS: Final = re.compile(r"""\"(?:\\.|[^"\\])*"|'[^']*'|#.*""")
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""What the first bytes of a text say of its encoding; UTF-32's begin with those of UTF-16."""


def read_text(path: Path) -> str:
    """The text in the file `path`. Raises SpecError that says what the file is instead."""
    where = short(str(path))
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise SpecError(f"{where}: no such file") from None
    except IsADirectoryError:
        raise SpecError(f"{where}: is a folder, not a file") from None
    except OSError as error:
        raise SpecError(f"{where}: cannot be read: {error.strerror}") from None
    if len(data) > LARGEST:
        raise SpecError(f"{where}: is larger than {LARGEST >> 20} MiB; is it the right file?")
    return decoded(data, where)


def decoded(data: bytes, where: str) -> str:
    """The text in `data`, with `\\n` at the ends of lines.

    Byte order marks before it and Ctrl-Z behind it, where DOS ended a text, are no part of it.

    Raises SpecError that begins with `where` for what is not text.
    """
    mark, encoding = next((m for m in _MARKS if data.startswith(m[0])), (b"", "utf-8"))
    try:
        text = data.removeprefix(mark).decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        if b"\0" in data:
            raise SpecError(f"{where}: is a binary file, not text; is it the right one?") from None
        raise SpecError(
            f"{where}: line {line} is not {encoding.upper()}; save the file as UTF-8"
        ) from None
    if "\0" in text:
        raise SpecError(
            f"{where}: holds NUL characters: it is a binary file, or UTF-16 without a byte order "
            "mark; save text as UTF-8"
        )
    text = _END.sub("", text.lstrip(MARK))
    return text.replace("\r\n", "\n").replace("\r", "\n")


def odd_note(text: str, what: str = "it") -> str:
    """What to add to an error about `text`: that `what` has a character that looks like another.

    That may be any that is not of ASCII, and many look like nothing. "" where there is none.
    """
    found = _ODD.search(text)
    if found is None:
        return ""
    name = _NAMES.get(found[0]) or unicodedata.name(found[0], "a control character")
    return f"; {what} has U+{ord(found[0]):04X}, {name}"


def odd_in_toml(text: str, message: str) -> str:
    """The same about the line of the TOML `text` that `message` names, or the last.

    In strings and comments any character may be.
    """
    place = re.search(r"at line (\d+)", message)
    lines = text.rstrip("\n").split("\n")
    number = int(place[1]) if place else len(lines)
    line = lines[number - 1] if number <= len(lines) else ""
    return odd_note(_STRINGS.sub("", line), f"line {number}")
