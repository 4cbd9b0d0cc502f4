"""Text as editors and shells save it: with byte order marks, in UTF-16, with any line ends."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Final

from protocol.errors import SpecError
from protocol.paths import short

LARGEST: Final = 1 << 24
"""Bytes; no file that a person writes is larger."""
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
    """The text in `data`, without a byte order mark and with `\\n` at the ends of lines.

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
    return text.replace("\r\n", "\n").replace("\r", "\n")
