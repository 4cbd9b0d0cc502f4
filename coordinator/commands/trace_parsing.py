"""What the words of `dni trace` take from the command line, and how they write numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from protocol import SpecError, nearest
from protocol.pipeline import SOURCE, layer_name

_UNITS: Final = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9}
_TIME: Final = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m)")
_SIZES: Final = ("B", "KiB", "MiB", "GiB", "TiB")

T = TypeVar("T")


def core_name(word: str, cores: Sequence[str]) -> str:
    """The core that `word` names: source, layer2 or 2. Raises SpecError."""
    name = layer_name(int(word)) if word.isascii() and word.isdigit() else word
    if name not in cores:
        raise SpecError(f"--layer: {word!r} is none of {SOURCE}, 0 … {len(cores) - 2}")
    return name


def batches(word: str) -> tuple[int, int]:
    """The first and the last batch of `100-200`, or of one number. Raises SpecError."""
    found = re.fullmatch(r"(\d{1,18})(?:-(\d{1,18}))?", word)
    if not found:
        raise SpecError(f"--batch: {word!r} is neither a number nor first-last")
    first, last = int(found[1]), int(found[2] or found[1])
    if last < first:
        raise SpecError(f"--batch: {word!r} ends before it begins")
    return first, last


def nanoseconds(word: str, option: str) -> int:
    """The time that a word such as 10s, 1.5ms or 200us gives. Raises SpecError."""
    found = _TIME.fullmatch(word)
    if not found:
        raise SpecError(f"{option}: {word!r} is no time; write 10s, 1.5s, 200ms or 300us")
    return round(float(found[1]) * _UNITS[found[2]])


def time_text(ns: float | None) -> str:
    """A time as a person writes it: three digits and a unit."""
    if ns is None:
        return "-"
    for unit in ("s", "ms"):
        if abs(ns) >= _UNITS[unit]:
            return f"{ns / _UNITS[unit]:.3g} {unit}" if abs(ns) < 1e12 else f"{ns / 1e9:,.0f} s"
    return f"{ns / 1e3:.3g} µs"


def bytes_text(size: float) -> str:
    """A number of bytes as a person writes it."""
    place = 0
    while size >= 1024 and place + 1 < len(_SIZES):
        size, place = size / 1024, place + 1
    return f"{size:.0f} {_SIZES[place]}" if place == 0 else f"{size:.1f} {_SIZES[place]}"


def one_of(word: str | None, known: Sequence[str], option: str) -> tuple[int, ...]:
    """The place of `word` among `known`, as a tuple; empty for None. Raises SpecError."""
    if word is None:
        return ()
    if word not in known or not word:
        raise SpecError(f"{option}: unknown value {word!r}{nearest(word, known)}")
    return (known.index(word),)


def some(value: T | None, text: Callable[[T], str]) -> str:
    """`value` as `text` writes it, and a dash for None."""
    return "-" if value is None else text(value)
