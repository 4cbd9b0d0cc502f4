"""Match two sequences of numbers that occur more than once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from coordinator.traces.events import NEVER, Numbers


def match_numbers(known: Numbers, wanted: Numbers) -> npt.NDArray[np.intp]:
    """The index in `known` of each of `wanted`, or NEVER.

    The n-th occurrence of a number in `wanted` matches its n-th occurrence in `known`. Messages of
    a kind keep their order on an edge, so `wanted` usually equals the beginning of `known`.
    """
    if len(wanted) <= len(known) and np.array_equal(known[: len(wanted)], wanted):
        return np.arange(len(wanted))
    if not (_increasing(known) and _increasing(wanted)):
        _, numbered = np.unique(np.concatenate([known, wanted]), return_inverse=True)
        each = numbered[: len(known)], numbered[len(known) :]
        longest = max(len(known), len(wanted))
        first, second = (numbers * longest + _occurrences(numbers) for numbers in each)
        order = np.argsort(first, kind="stable")
        return _search(first[order], second, order)
    return _search(known, wanted, np.arange(len(known)))


def _search(known: Numbers, wanted: Numbers, indices: Numbers) -> npt.NDArray[np.intp]:
    """The entry of `indices` for each of `wanted` in the sorted `known`, or NEVER."""
    at = np.searchsorted(known, wanted)
    inside = np.minimum(at, len(known) - 1)
    if not len(known):
        return np.full(len(wanted), NEVER)
    return np.where(known[inside] == wanted, indices[inside], NEVER)


def _increasing(numbers: Numbers) -> bool:
    return bool((numbers[1:] > numbers[:-1]).all())


def _occurrences(numbers: Numbers) -> Numbers:
    """For each number, how many equal numbers precede it."""
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]
    begins = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    lengths = np.diff(np.append(begins, len(ordered)))
    counted = np.empty(len(numbers), np.intp)
    counted[order] = np.arange(len(ordered)) - np.repeat(begins, lengths)
    return counted
