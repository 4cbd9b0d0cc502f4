"""What the name of an array or of a folder means, where it is not the usual one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

from workers.data.dataset import KEYS

_X: Final = "x|xs|images?|imgs?|data|features?|inputs?|pixels|samples|pictures"
_Y: Final = "y|ys|labels?|lbls?|targets?|class|classes|outputs?"
SPLITS: Final = {
    "train": ("train", "training"),
    "test": ("test", "testing", "val", "valid", "validation", "dev", "eval"),
}
"""The names of each part, in order of preference."""
_SHORT: Final = {"train": ("tr", "trn"), "test": ("te", "tst")}
"""More of them, for arrays alone: as folders they are rather classes."""
_SET: Final = re.compile("[ _-]?set$")
_PARTS: Final = {part: re.compile("|".join(SPLITS[part] + _SHORT[part])) for part in SPLITS}
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


def split_of(folder: str) -> str | None:
    """The part that a folder of this name is, if any; case does not matter, nor "set" behind it."""
    return next((part for part in SPLITS if preference(folder, part) is not None), None)


def preference(folder: str, part: str) -> int | None:
    """The place of the name of a folder in `PARTS[part]`; None where it is not there."""
    name = _SET.sub("", folder.lower())
    return SPLITS[part].index(name) if name in SPLITS[part] else None


def meant(key: str, names: Iterable[str]) -> str | None:
    """The one of `names` that means the array `key`, by its words or as a misspelling."""
    strange = [name for name in names if name not in KEYS]
    kind, _, part = key.partition("_")
    if same := [name for name in strange if meaning(name) == (kind, part)]:
        return min(same, key=partial(_rank, SPLITS[part]))
    slips = {n.lower(): n for n in strange if None in meaning(n) and n[:1].lower() == kind}
    close = difflib.get_close_matches(key, slips, n=1, cutoff=0.5)
    return slips[close[0]] if close else None


def _rank(words: Sequence[str], name: str) -> int:
    """The first of `words` that is in the name of an array."""
    said = {word.lower() for word in _WORDS.findall(name)}
    return next((i for i, word in enumerate(words) if word in said), len(words))


def undivided(names: Iterable[str]) -> dict[str, str]:
    """By kind, "x" or "y", the names without a part, such as `images`."""
    found = {meaning(name): name for name in reversed(list(names))}
    return {kind: found[kind, None] for kind in _KINDS if (kind, None) in found}
