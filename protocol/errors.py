"""The mistakes of others: what a user or a peer got wrong, said in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

DISTRIBUTION: Final = "dni-train"
"""The name under which pip knows this program; `dni` is another package on the public index."""


class UserError(Exception):
    """A mistake that the user can mend; its text is the whole explanation."""


class SpecError(UserError):
    """A pipeline that cannot be: an unknown key, a wrong module, shapes that do not fit."""


class DataError(UserError):
    """Data that is not there, not what its name promises, or not usable by the pipeline."""


class RunError(UserError):
    """A run folder that is missing, in the way, or not complete."""


class LostError(UserError):
    """What this process works for is gone; nothing that the user gave is wrong."""


def closest(word: str, words: Iterable[str], least: float = 0.5) -> str | None:
    """The one of `words` that is most like `word`; None where none is so by `least`, of 1."""
    return next(iter(difflib.get_close_matches(word, words, n=1, cutoff=least)), None)


def nearest(word: str, words: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the known word nearest to `word`, else the list of them."""
    known = list(words)
    close = closest(word, known)
    return f"; did you mean {close!r}?" if close else f"; known: {', '.join(known)}"


def install_hint(extra: str) -> str:
    """How to install what the optional `extra` needs, such as "plot"."""
    return f"run pip install '.[{extra}]' in the checkout of dni"
