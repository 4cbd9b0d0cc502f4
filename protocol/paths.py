"""Paths that a user gives, whether on the command line, in a file or from Python."""

from __future__ import annotations

import os
import pwd
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
    found = _expanded(word)
    if not (word.startswith("~") and found == word):
        return Path(found)
    user = word.partition("/")[0].removeprefix("~")
    why = f"there is no user {user!r}" if user else "HOME is not set, and no user entry names it"
    raise SpecError(f"{key}: {short(word)}: {why}; give the path in full")


def _expanded(word: str) -> str:
    """`word` with its `~` expanded, if that can be; an empty HOME counts as none.

    It would make `~/runs` a folder of the root.
    """
    if word.partition("/")[0] == "~" and os.environ.get("HOME") == "":
        try:
            return pwd.getpwuid(os.getuid()).pw_dir + word.removeprefix("~")
        except KeyError:
            return word
    return os.path.expanduser(word)  # noqa: PTH111  as ./~ is no home, and Path drops the ./


def short(text: str) -> str:
    """`text`, cut where it is too long for an error of one line."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
