"""Paths that a user gives, whether on the command line, in a file or from Python."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from protocol.errors import SpecError

SHOWN: Final = 80
"""Characters of a path that an error repeats."""


def user_path(text: str | os.PathLike[str], key: str) -> Path:
    """`text` as a path, with `~` and `~name` expanded.

    Raises SpecError that begins with `key` where `text` cannot be a path, or names a home folder
    that is not known.
    """
    word = os.fspath(text)
    if not word or "\0" in word:
        raise SpecError(f"{key}: {short(word)!r} cannot be a path")
    found = os.path.expanduser(word)  # noqa: PTH111  as ./~ is no home, and Path drops the ./
    if not (word.startswith("~") and found == word):
        return Path(found)
    user = word.partition("/")[0].removeprefix("~")
    why = f"there is no user {user!r}" if user else "HOME is not set, and no user entry names it"
    raise SpecError(f"{key}: {short(word)}: {why}; give the path in full")


def short(text: str) -> str:
    """`text`, cut where it is too long for an error of one line."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
