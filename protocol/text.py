"""Text files as editors and shells save them: byte order marks, UTF-16, any line ends."""

from __future__ import annotations

import codecs
import re
import unicodedata
from pathlib import Path
from typing import Final

from protocol.errors import SpecError
from protocol.paths import shortened

LARGEST: Final = 1 << 24
"""Bytes of a text file."""
BOM: Final = "\ufeff"
_DOS_END: Final = re.compile(r"\x1a[\x1a\s]*\Z")
_NOT_ASCII: Final = re.compile(r"[^\t\n -~]")
_CHARACTER_NAMES: Final = {
    BOM: "a byte order mark",
    "\x1a": "Ctrl-Z",
    "\xa0": "a no-break space",
    "\u200b": "a zero-width space",
}
_STRINGS: Final = re.compile(r"""\"(?:\\.|[^"\\])*"|'[^']*'|#.*""")
"""Strings and comments of TOML, in which any character is valid."""
_ENCODINGS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""Byte order marks and encodings. UTF-32 is first: its marks begin with those of UTF-16."""


def read_text_file(path: Path) -> str:
    """The text in the file `path`. Raises SpecError with the reason if the file has none."""
    where = shortened(str(path))
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
    return decode_text(data, where)


def decode_text(data: bytes, where: str) -> str:
    """The text in `data`, with `\\n` as line ends.

    Leading byte order marks, and the Ctrl-Z with which DOS ends a text, are removed. Raises
    SpecError that begins with `where` for data that are not text.
    """
    bom, encoding = next((pair for pair in _ENCODINGS if data.startswith(pair[0])), (b"", "utf-8"))
    try:
        text = data.removeprefix(bom).decode(encoding)
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
    text = _DOS_END.sub("", text.lstrip(BOM))
    return text.replace("\r\n", "\n").replace("\r", "\n")


def confusable_note(text: str, what: str = "it") -> str:
    """A note for an error about `text`: the first character of it that is not ASCII.

    Such a character may be invisible or look like an ASCII one. `what` is the subject of the note;
    the note is "" if all of `text` is ASCII.
    """
    found = _NOT_ASCII.search(text)
    if found is None:
        return ""
    name = _CHARACTER_NAMES.get(found[0]) or unicodedata.name(found[0], "a control character")
    return f"; {what} has U+{ord(found[0]):04X}, {name}"


def confusable_in_toml(text: str, error: str) -> str:
    """The same note about one line of the TOML `text`, without its strings and comments.

    It is the line whose number is in `error`, or the last one.
    """
    found = re.search(r"at line (\d+)", error)
    lines = text.rstrip("\n").split("\n")
    number = int(found[1]) if found else len(lines)
    line = lines[number - 1] if number <= len(lines) else ""
    return confusable_note(_STRINGS.sub("", line), f"line {number}")
