"""Write times and sizes with units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

NANOSECONDS: Final = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9}
_SIZES: Final = ("B", "KiB", "MiB", "GiB", "TiB")

T = TypeVar("T")


def time_text(ns: float | None) -> str:
    """A time with three significant digits and a unit; a dash for None."""
    if ns is None:
        return "-"
    for unit in ("s", "ms"):
        if abs(ns) >= NANOSECONDS[unit]:
            seconds = f"{ns / 1e9:,.0f} s"
            return f"{ns / NANOSECONDS[unit]:.3g} {unit}" if abs(ns) < 1e12 else seconds
    return f"{ns / 1e3:.3g} µs"


def bytes_text(size: float) -> str:
    """A number of bytes with a binary unit."""
    unit = 0
    while size >= 1024 and unit + 1 < len(_SIZES):
        size, unit = size / 1024, unit + 1
    return f"{size:.0f} {_SIZES[unit]}" if unit == 0 else f"{size:.1f} {_SIZES[unit]}"


def text_or_dash(value: T | None, text: Callable[[T], str]) -> str:
    """`text(value)`, or a dash for None."""
    return "-" if value is None else text(value)
