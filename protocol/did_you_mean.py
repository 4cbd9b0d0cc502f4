"""Hints for a misspelled name: "did you mean …?" with the most similar known one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def closest(name: str, known: Iterable[str], cutoff: float = 0.5) -> str | None:
    """The one of `known` that is most similar to `name`, or None if no ratio reaches `cutoff`."""
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=cutoff)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the most similar one of `known`, else the list of all."""
    names = list(known)
    found = closest(name, names)
    return f"; did you mean {found!r}?" if found else f"; known: {', '.join(names)}"
