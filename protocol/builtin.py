"""Conversion to values that TOML, msgpack and JSON can hold."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import PurePath


def to_builtin(table: dict[str, object]) -> dict[str, object]:
    """`table` with lists in place of tuples, without the keys whose value is None."""
    return {key: builtin_value(value) for key, value in table.items() if value is not None}


def builtin_value(value: object) -> object:
    """`value` converted as by `to_builtin`."""
    if isinstance(value, dict):
        return to_builtin(value)
    if isinstance(value, tuple):
        return [builtin_value(item) for item in value]
    return value


def to_json(
    value: object, indent: int | None = None, separators: tuple[str, str] | None = None
) -> str:
    """`value` as strict JSON in ASCII: null for NaN and the infinities, the text of a path.

    Raises TypeError for types that JSON has no form for.
    """
    write = partial(
        json.dumps, indent=indent, separators=separators, allow_nan=False, default=_path_text
    )
    try:
        return write(value)
    except ValueError:
        return write(_nonfinite_to_none(value))


def _path_text(value: object) -> str:
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _nonfinite_to_none(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _nonfinite_to_none(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_nonfinite_to_none(item) for item in value]
    return value
