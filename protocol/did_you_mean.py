"""Hints for a misspelled name: "did you mean …?" with the most similar known one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

CUTOFF: Final = 0.5
"""The similarity from which a name is proposed; 1 is equality."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the most similar one of `known`, else the list of all."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=CUTOFF)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(names)}"
