"""Paths from the user: on the command line, in a pipeline file or from Python."""

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

    Raises SpecError that begins with `key` if `text` cannot be a path, or if it begins with the
    home folder of an unknown user.
    """
    given = os.fspath(text)
    if not given or "\0" in given:
        raise SpecError(f"{key}: {shortened(given)!r} cannot be a path")
    found = _expanded(given)
    if not (given.startswith("~") and found == given):
        return Path(found)
    user = given.partition("/")[0].removeprefix("~")
    reason = f"there is no user {user!r}" if user else "HOME is not set, and the user has no entry"
    raise SpecError(f"{key}: {shortened(given)}: {reason}; give the path in full")


def _expanded(given: str) -> str:
    """`given` with its `~` expanded, or unchanged if the home folder is unknown.

    An empty HOME counts as unset: it would make `~/runs` a folder of the root.
    """
    if given.partition("/")[0] == "~" and os.environ.get("HOME") == "":
        try:
            return pwd.getpwuid(os.getuid()).pw_dir + given.removeprefix("~")
        except KeyError:
            return given
    return os.path.expanduser(given)  # noqa: PTH111  Path drops the ./ of ./~, which is no home


def shortened(text: str) -> str:
    """`text`, cut to the length that an error of one line has room for."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
