"""Warnings on standard error, which is a worker's log: for what is wrong but stops nothing."""

from __future__ import annotations

import contextlib
import sys
from typing import Final

from protocol.printable import printable

MAX_WARNINGS: Final = 100


def warn(text: str) -> None:
    """Write one line to standard error; a full disk or a closed stream is ignored."""
    with contextlib.suppress(OSError, ValueError):
        print(printable(text), file=sys.stderr, flush=True)


class LimitedWarnings:
    """Writes the first `MAX_WARNINGS` warnings and drops the rest.

    Peers cause these warnings, so a peer must not be able to fill the disk.
    """

    def __init__(self) -> None:
        self._count = 0

    def warn(self, text: str) -> None:
        """Write one line, or nothing once the limit is reached."""
        self._count += 1
        if self._count <= MAX_WARNINGS:
            warn(text)
