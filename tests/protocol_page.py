"""The parts of docs/protocol.md, for tests that compare them with the code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from tests.vectors import DOCS

PAGE: Final = (DOCS / "protocol.md").read_text("utf-8")


def sections() -> dict[str, str]:
    """The text under each heading, up to the next one of any depth."""
    _, *parts = re.split(r"^#+ (.+)$", PAGE, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def tables(text: str) -> Iterator[list[list[str]]]:
    """The tables in `text`: rows of cells without backticks and links, the heading left out."""
    for block in re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE):
        lines = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", block).replace("`", "").splitlines()
        rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
        yield [[cell.strip().replace("\\|", "|") for cell in row] for row in rows[2:]]


def table(heading: str, number: int = 0) -> list[list[str]]:
    """The `number`-th table under `heading`."""
    return list(tables(SECTIONS[heading]))[number]


def fences() -> Iterator[tuple[str, str]]:
    """What stands behind each opening fence, and the block."""
    yield from re.findall(r"^```(.*)\n((?:(?!```).*\n)*)```$", PAGE, flags=re.MULTILINE)


def dumped(block: str) -> list[bytes]:
    """The frames in a dump."""
    found: list[bytes] = []
    for line in block.splitlines():
        code, _, times = line.partition("#")[0].partition(" x ")
        if code.startswith("frame "):
            found.append(b"")
        else:
            found[-1] += bytes.fromhex(code) * int(times or 1)
    return found


SECTIONS: Final = sections()
