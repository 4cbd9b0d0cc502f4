"""The refusals that the tables of a pipeline share: each raises a SpecError that names the key."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping

from protocol.errors import SpecError, nearest
from protocol.text import odd_note


def one_of(key: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse a `value` that is not one of the words `known`."""
    if value not in known:
        short = value[:60]
        meant = nearest(short, known) + odd_note(short)
        raise SpecError(f"{key}: unknown value {value!r:.60}{meant}")


def seconds(key: str, text: str) -> float:
    """The number of seconds in `text`; refuses what is not above 0 and finite."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise SpecError(f"{key}: {text!r:.40} is not a number of seconds above 0")
    return found


def at_least(key: str, value: float, least: float) -> None:
    """Refuse a `value` below `least`."""
    if not value >= least:
        raise SpecError(f"{key}: {value!r} is less than {least}")


def positive(key: str, value: float) -> None:
    """Refuse a `value` that is not above 0, or infinite."""
    if not 0 < value < math.inf:
        raise SpecError(f"{key}: {value!r} is not a positive number")


def fraction(key: str, value: float) -> None:
    """Refuse a `value` that is not in [0, 1)."""
    if not 0 <= value < 1:
        raise SpecError(f"{key}: {value!r} is not in [0, 1)")


def is_path(text: str) -> bool:
    """Whether `text` can be a path at all, here and in a file of UTF-8."""
    try:
        text.encode("utf-8")
        os.fsencode(text)
    except UnicodeError:
        return False
    return text != "" and "\0" not in text


def each_of(
    key: str, table: Mapping[str, str], names: Iterable[str], known: tuple[str, ...]
) -> None:
    """Refuse a `table` whose keys are not all `names` of edges, or its values not all `known`."""
    edges = list(names)
    for edge, value in table.items():
        if edge not in edges:
            raise SpecError(f"{key}: there is no edge {edge!r}{nearest(edge, edges)}")
        one_of(f"{key}.{edge}", value, known)
