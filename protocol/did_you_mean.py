"""Which key of a pipeline an unknown one is meant for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from typing import Final, NamedTuple

LIKE: Final = 0.75
"""How like a word a key of another table must be to be proposed, of 1."""
LEAST: Final = 0.5
"""The same for a key of the word's own table."""
LONGEST: Final = 60
"""Characters of an unknown key that are looked at."""
_ALIASES: Final = {
    "lr": ("learningrate", "stepsize", "eta"),
    "batch": ("batchsize", "minibatch", "minibatchsize"),
    "steps": (
        *("epochs", "numepochs", "nepochs", "maxepochs", "iterations", "maxiterations", "maxiter"),
        *("numsteps", "nsteps", "maxsteps", "totalsteps", "trainsteps"),
    ),
    "optimizer": ("optim", "optimiser"),
    "augment": ("augmentation", "augmentations"),
    "modules": ("units", "activation"),
}
"""What other programs call some of the keys."""
_ALIAS_OF: Final = {alias: key for key, aliases in _ALIASES.items() for alias in aliases}
_PLACE: Final = re.compile(r"\[(\d+|i)\]|\.(\d+)(?=\.|$)")
"""A place in a list: `layer[0]`, as in messages, or `layer.0`, as in overrides."""


class _Best(NamedTuple):
    likeness: float
    name: str


def proposal(table: str, word: str, value: object, names: Sequence[str]) -> str:
    """`"; did you mean 'train.lr'?"` for the key `word` in the table `table`, which is unknown.

    `names` are the dotted names of all keys, with `[i]` for a place in a list. Where none is like
    the word, the keys of its table are listed. A `value` that is a table with one key is part of
    the name, for so an override is read: `trian.lr=0.1`.
    """
    given = _path(word, value)
    within = _PLACE.sub("[i]", table)
    own_names = [name for name in names if _parted(name)[0] == within]
    own = _best(given, own_names)
    other = _best(given, [name for name in names if name not in own_names])
    found = _worth_proposing(given, own, other)
    if not found:
        return f"; known: {', '.join(_parted(name)[1] for name in own_names)}"
    places = [first or second for first, second in _PLACE.findall(f"{table}.{given}")]
    return f"; did you mean {' or '.join(repr(_placed(best.name, places)) for best in found)}?"


def _worth_proposing(given: str, own: _Best, other: _Best) -> list[_Best]:
    """Which of the best of the word's `own` table and of any `other` are proposed."""
    if other.likeness < LIKE or own.likeness >= other.likeness:
        return [own] if own.likeness >= LEAST else []
    whole = _fold(given) == _fold(other.name)  # train_lr can only be train.lr
    return [other] if whole or own.likeness < LIKE else [own, other]


def _path(word: str, value: object) -> str:
    """`word`, and the words of the tables with one key under it."""
    while isinstance(value, dict) and len(value) == 1 and len(word) < LONGEST:
        (below, value), *_ = value.items()
        word = f"{word}.{below}"
    return word[:LONGEST]


def _best(given: str, names: Iterable[str]) -> _Best:
    """The one of `names` that is most like `given`, by its last word or by all of them."""
    found = (_Best(_likeness(given, name), name) for name in names)
    return max(found, key=lambda best: best.likeness, default=_Best(0.0, ""))


def _likeness(given: str, name: str) -> float:
    table, word = _parted(_PLACE.sub("[i]", given))
    folded = _fold(table) + _ALIAS_OF.get(_fold(word), _fold(word))
    candidates = {_fold(name), _fold(_parted(name)[1])}
    return max(SequenceMatcher(a=folded, b=known).ratio() for known in candidates)


def _fold(text: str) -> str:
    """`text` in small letters, without what people put between words."""
    return re.sub(r"[\W_]", "", text).casefold()


def _parted(name: str) -> tuple[str, str]:
    table, _, word = name.rpartition(".")
    return table, word


def _placed(name: str, places: Sequence[str]) -> str:
    """`name` as an override has it, with a place in a list as it was given."""
    known = [place for place in places if place != "i"]
    return name.replace("[i]", f".{known[0]}") if known else name
