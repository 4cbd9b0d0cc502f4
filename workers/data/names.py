"""Recognises arrays and folders by their names, if these are not the usual ones."""

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
"""The names of the folder of each split, in order of preference."""
_SHORT: Final = {"train": ("tr", "trn"), "test": ("te", "tst")}
"""More names of splits, for arrays only; a folder of such a name is more likely a class."""
_SET: Final = re.compile("[ _-]?set$")
_SPLITS: Final = {split: re.compile("|".join(SPLITS[split] + _SHORT[split])) for split in SPLITS}
_KINDS: Final = {"x": re.compile(_X), "y": re.compile(_Y)}
_PIECE: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")


def meaning(name: str) -> tuple[str | None, str | None]:
    """The kind ("x" or "y") and the split ("train" or "test") in `name`, each None if absent.

    `X_train`, `trainImages` and `train_x` are ("x", "train"); `labels` is ("y", None).
    """
    pieces = _pieces(name)
    return _first(pieces, _KINDS), _first(pieces, _SPLITS)


def _pieces(name: str) -> list[str]:
    """The parts of a name in camel case or with separators, in small letters."""
    return [piece.lower() for piece in _PIECE.findall(name)]


def _first(pieces: Iterable[str], known: dict[str, re.Pattern[str]]) -> str | None:
    for piece in pieces:
        for key, pattern in known.items():
            if pattern.fullmatch(piece):
                return key
    return None


def split_of(folder: str) -> str | None:
    """The split that a folder of this name holds, or None; ignores case and a final "set"."""
    return next((split for split in SPLITS if preference(folder, split) is not None), None)


def preference(folder: str, split: str) -> int | None:
    """The index of the name of a folder in `SPLITS[split]`; None if it is not there."""
    name = _SET.sub("", folder.lower())
    return SPLITS[split].index(name) if name in SPLITS[split] else None


def meant(key: str, names: Iterable[str]) -> str | None:
    """The one of `names` that means the array `key`, by its parts or misspelled; else None."""
    unknown = [name for name in names if name not in KEYS]
    kind, _, split = key.partition("_")
    if same := [name for name in unknown if meaning(name) == (kind, split)]:
        return min(same, key=partial(_rank, SPLITS[split]))
    slips = {n.lower(): n for n in unknown if None in meaning(n) and n[:1].lower() == kind}
    close = difflib.get_close_matches(key, slips, n=1, cutoff=0.5)
    return slips[close[0]] if close else None


def _rank(preferred: Sequence[str], name: str) -> int:
    """The index of the first of `preferred` that is a part of `name`."""
    pieces = _pieces(name)
    return next((i for i, piece in enumerate(preferred) if piece in pieces), len(preferred))


def undivided(names: Iterable[str]) -> dict[str, str]:
    """The names without a split, such as `images`, by kind: "x" or "y"."""
    found = {meaning(name): name for name in reversed(list(names))}
    return {kind: found[kind, None] for kind in _KINDS if (kind, None) in found}
