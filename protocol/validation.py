"""Checks of values of a pipeline. Each raises SpecError with the name of the key."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping

from protocol import renamed
from protocol.did_you_mean import did_you_mean
from protocol.errors import SpecError
from protocol.text import confusable_note


def require_one_of(key: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse a `value` that is not in `known`."""
    if value not in known:
        short = value[:60]
        new = renamed.VALUES.get(key, {}).get(value)
        hint = f"; did you mean {new!r}?" if new else did_you_mean(short, known)
        hint += confusable_note(short)
        raise SpecError(f"{key}: unknown value {value!r:.60}{hint}")


def parse_seconds(key: str, text: str) -> float:
    """The number of seconds in `text`; refuses what is not above 0 and finite."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise SpecError(f"{key}: {text!r:.40} is not a number of seconds above 0")
    return found


def require_at_least(key: str, value: float, least: float) -> None:
    """Refuse a `value` below `least`."""
    if not value >= least:
        raise SpecError(f"{key}: {value!r} is less than {least}")


def require_positive(key: str, value: float) -> None:
    """Refuse a `value` that is not above 0, or infinite."""
    if not 0 < value < math.inf:
        raise SpecError(f"{key}: {value!r} is not a positive number")


def require_fraction(key: str, value: float) -> None:
    """Refuse a `value` outside [0, 1)."""
    if not 0 <= value < 1:
        raise SpecError(f"{key}: {value!r} is not in [0, 1)")


def is_path(text: str) -> bool:
    """Whether `text` can name a file on this system and can be written to a UTF-8 file."""
    try:
        text.encode("utf-8")
        os.fsencode(text)
    except UnicodeError:
        return False
    return text != "" and "\0" not in text


def require_edge_values(
    key: str, table: Mapping[str, str], edges: Iterable[str], known: tuple[str, ...]
) -> None:
    """Refuse a `table` with a key that is not in `edges` or a value that is not in `known`."""
    names = list(edges)
    for edge, value in table.items():
        if edge not in names:
            raise SpecError(f"{key}: there is no edge {edge!r}{did_you_mean(edge, names)}")
        require_one_of(f"{key}.{edge}", value, known)
