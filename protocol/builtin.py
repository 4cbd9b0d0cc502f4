"""Values as TOML, msgpack and JSON can hold them."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import PurePath


def plain(table: dict[str, object]) -> dict[str, object]:
    """`table` with lists for tuples, and without what is None."""
    return {key: plain_value(value) for key, value in table.items() if value is not None}


def plain_value(value: object) -> object:
    """The same of any value."""
    if isinstance(value, dict):
        return plain(value)
    if isinstance(value, tuple):
        return [plain_value(item) for item in value]
    return value


def json_text(
    value: object, indent: int | None = None, separators: tuple[str, str] | None = None
) -> str:
    """`value` as JSON in ASCII that every reader takes: null for NaN and the infinities.

    A path is its text. Raises TypeError for what JSON cannot hold.
    """
    write = partial(
        json.dumps, indent=indent, separators=separators, allow_nan=False, default=_path_text
    )
    try:
        return write(value)
    except ValueError:
        return write(_finite(value))


def _path_text(value: object) -> str:
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"{type(value).__name__} is nothing that JSON can hold")


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
