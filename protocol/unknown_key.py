"""Hints for an unknown key of a pipeline: the key that the user probably meant, in any table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from typing import Final, NamedTuple

from protocol import renamed

CUTOFF: Final = 0.75
"""The similarity from which a key of another table is proposed; 1 is equality."""
OWN_CUTOFF: Final = 0.5
"""The same for keys of the table in which the unknown key stands."""
LONGEST: Final = 60
"""Characters of an unknown key that are compared and repeated in errors."""
_SYNONYMS: Final = {
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
"""Names that other programs use for some of the keys."""
_SYNONYM_OF: Final = {synonym: key for key, names in _SYNONYMS.items() for synonym in names}
_INDEX: Final = re.compile(r"\[(\d+|i)\]|\.(\d+)(?=\.|$)")
"""An index into a list: `layer[0]`, as in messages, or `layer.0`, as in overrides."""


class _Match(NamedTuple):
    ratio: float
    name: str


def unknown_key_hint(table: str, key: str, value: object, names: Sequence[str]) -> str:
    """`"; did you mean 'train.lr'?"` for the unknown `key` in `table`.

    `names` are the dotted names of all keys, with `[i]` for an index. If no name is similar, the
    hint lists the keys of the table. If `value` is a table with one key, that key is compared as a
    part of the name, because the override `trian.lr=0.1` is read so.
    """
    if new := renamed.KEYS.get(f"{table}.{key}" if table else key):
        return f"; did you mean {new!r}?"
    given = _path(key, value)
    within = _INDEX.sub("[i]", table)
    own_names = [name for name in names if _split(name)[0] == within]
    own = _best_match(given, own_names)
    other = _best_match(given, [name for name in names if name not in own_names])
    found = _worth_proposing(given, own, other)
    if not found:
        return f"; known: {', '.join(_split(name)[1] for name in own_names)}"
    indices = [first or second for first, second in _INDEX.findall(f"{table}.{given}")]
    return f"; did you mean {' or '.join(repr(_indexed(m.name, indices)) for m in found)}?"


def _worth_proposing(given: str, own: _Match, other: _Match) -> list[_Match]:
    """The matches to propose, of the best in the `own` table and the best in any `other`."""
    if other.ratio < CUTOFF or own.ratio >= other.ratio:
        return [own] if own.ratio >= OWN_CUTOFF else []
    exact = _folded(given) == _folded(other.name)  # train_lr can only be train.lr
    return [other] if exact or own.ratio < CUTOFF else [own, other]


def _path(key: str, value: object) -> str:
    """`key`, and below it the keys of nested tables that have one key each."""
    while isinstance(value, dict) and len(value) == 1 and len(key) < LONGEST:
        (below, value), *_ = value.items()
        key = f"{key}.{below}"
    return key[:LONGEST]


def _best_match(given: str, names: Iterable[str]) -> _Match:
    """The one of `names` most similar to `given`, by its last part or by all parts."""
    found = (_Match(_ratio(given, name), name) for name in names)
    return max(found, key=lambda match: match.ratio, default=_Match(0.0, ""))


def _ratio(given: str, name: str) -> float:
    table, key = _split(_INDEX.sub("[i]", given))
    folded = _folded(table) + _SYNONYM_OF.get(_folded(key), _folded(key))
    candidates = {_folded(name), _folded(_split(name)[1])}
    return max(SequenceMatcher(a=folded, b=known).ratio() for known in candidates)


def _folded(text: str) -> str:
    """`text` in small letters without punctuation."""
    return re.sub(r"[\W_]", "", text).casefold()


def _split(name: str) -> tuple[str, str]:
    table, _, key = name.rpartition(".")
    return table, key


def _indexed(name: str, indices: Sequence[str]) -> str:
    """`name` in the form of an override, with the index that the user gave in place of `[i]`."""
    given = [index for index in indices if index != "i"]
    return name.replace("[i]", f".{given[0]}") if given else name
