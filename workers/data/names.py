"""What an array's name means, where it is not one of `dataset.KEYS`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Final

from workers.data.dataset import KEYS

_X: Final = "x|xs|images?|imgs?|data|features?|inputs?|pixels|samples|pictures"
_Y: Final = "y|ys|labels?|lbls?|targets?|class|classes|outputs?"
_PARTS: Final = {
    "train": re.compile("train|training|tr|trn"),
    "test": re.compile("test|testing|tst|te|val|valid|validation|dev|eval"),
}
_KINDS: Final = {"x": re.compile(_X), "y": re.compile(_Y)}
_WORDS: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")


def meaning(name: str) -> tuple[str | None, str | None]:
    """Kind ("x" or "y") and part ("train" or "test") in the words of `name`, each None if absent.

    `X_train`, `trainImages` and `train_x` are ("x", "train"); `labels` is ("y", None).
    """
    words = [word.lower() for word in _WORDS.findall(name)]
    return _first(words, _KINDS), _first(words, _PARTS)


def _first(words: Iterable[str], known: dict[str, re.Pattern[str]]) -> str | None:
    for word in words:
        for what, pattern in known.items():
            if pattern.fullmatch(word):
                return what
    return None


def meant(key: str, names: Iterable[str]) -> str | None:
    """The one of `names` that means the array `key`, by its words or as a misspelling."""
    strange = [name for name in names if name not in KEYS]
    kind, _, part = key.partition("_")
    for name in strange:
        if meaning(name) == (kind, part):
            return name
    slips = {n.lower(): n for n in strange if None in meaning(n) and n[:1].lower() == kind}
    close = difflib.get_close_matches(key, slips, n=1, cutoff=0.5)
    return slips[close[0]] if close else None


def undivided(names: Iterable[str]) -> dict[str, str]:
    """By kind, "x" or "y", the names without a part, such as `images`."""
    found = {meaning(name): name for name in reversed(list(names))}
    return {kind: found[kind, None] for kind in _KINDS if (kind, None) in found}
