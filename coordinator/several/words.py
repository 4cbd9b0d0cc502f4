"""What the words of `dni join` take from the command line and from standard input."""

from __future__ import annotations

import os
import select
import sys

from protocol import SpecError
from protocol.spec import layer_name


def wishes(text: str | None) -> tuple[str, ...]:
    """The names of the layers in `2,3`. Raises SpecError."""
    if text is None:
        return ()
    numbers = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() for word in numbers):
        raise SpecError(f"--layers: {text!r} is no list of numbers such as 2,3")
    return tuple(layer_name(int(word)) for word in numbers)


def input_ended() -> bool:
    """Whether standard input has come to its end; what it still says is passed over."""
    here = sys.stdin.fileno()
    readable, _, _ = select.select([here], [], [], 0)
    return bool(readable) and not os.read(here, 4096)
