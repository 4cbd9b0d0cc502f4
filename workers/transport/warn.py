"""A word to the worker's log, for what is wrong but no reason to stop training."""

from __future__ import annotations

import contextlib
import sys

from protocol.printable import printable


def complain(text: str) -> None:
    """Write a line, where there is room for it."""
    with contextlib.suppress(OSError, ValueError):
        print(printable(text), file=sys.stderr, flush=True)
