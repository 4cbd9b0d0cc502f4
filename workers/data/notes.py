"""Notes on arrays that can be trained on, but that the user probably did not intend."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from workers.data.listing import listed

_LARGE: Final = 2.0
"""The largest value of float images that are considered scaled."""
_SMALL: Final = 0.1
"""The largest value of scaled 8-bit inputs that is considered too small."""
_BYTE: Final = 255
_BRIGHT: Final = 200
"""Pixels of the range 0 to 255 have a maximum of at least this."""
_WIDE_RANGE: Final = 100
"""If the maximum is above this, small negative numbers are ignored..."""
_STRAY: Final = 0.05
"""...down to this fraction of the maximum."""
_APART: Final = 50
"""The ratio of the maxima of two splits that are scaled differently."""
_ENOUGH: Final = 10
"""The number of examples from which the scale of a split is known."""
_ROW: Final = 16
"""The smallest length of a row of pixels of an image."""
_IMAGE: Final = 64
"""The smallest length of such a row if the pixels are not whole numbers."""
UNIQUE: Final = (
    "save numpy.unique(y, return_inverse=True)[1], with y the training and test labels in one array"
)
"""The call that numbers classes with any labels."""
_CHANNELS: Final = (1, 3, 4)
_MOST_CHANNELS: Final = 16
"""The largest unusual number of channels of a square image with the channels first."""

Array = NDArray[np.generic]


def notes_on_inputs(key: str, x: Array, scale: float) -> list[str]:
    """Notes on the examples `x`, `(n, *shape)`, of the array `key`.

    The examples are float32, or stored integers, which the first layer multiplies by `scale`.
    """
    if x.dtype == np.uint8 and scale < 1:  # the scale of booleans is 1
        return _of_bytes(key, int(np.max(x)))
    return _of_floats(key, x) if x.dtype.kind == "f" else []


def _of_bytes(key: str, largest: int) -> list[str]:
    if not 0 < largest <= _SMALL * _BYTE:
        return []
    note = (
        f"{key} is uint8 with no number above {largest}: 8-bit inputs are divided by 255, so these "
        f"become tiny; scale them up to 255, or save them as floats divided by {largest}"
    )
    return [note]


def _of_floats(key: str, x: Array) -> list[str]:
    low, high = float(np.min(x)), float(np.max(x))
    stray = high > _WIDE_RANGE and low >= -_STRAY * high  # such as padding
    if (low < 0 and not stray) or high <= _LARGE:
        return []
    if x.ndim == 2 and not _are_rows_of_pixels(x, low, high):
        return []
    divisor = _BYTE if _BYTE / 2 < high <= _BYTE else high
    remedy = f"divide them by {divisor:g}"
    if high <= _BYTE and (high > _SMALL * _BYTE) and _are_whole(x):
        remedy += ", or save them as uint8, which is scaled to 0...1"
    return [f"{key} holds floats from {low:g} to {high:g}, which are not scaled: {remedy}"]


def _are_rows_of_pixels(x: Array, low: float, high: float) -> bool:
    """Whether rows look like flattened images: their values range from 0 to about 255, and they
    are whole numbers or have the length of a square image."""
    width = x.shape[1]
    if width < _ROW or low != 0 or not _BRIGHT < high <= _BYTE:
        return False
    square = any(math.isqrt(width // c) ** 2 * c == width for c in _CHANNELS)
    return (square and width >= _IMAGE) or _are_whole(x)


def _are_whole(x: Array) -> bool:
    """Whether the first thousand examples hold whole numbers only."""
    some = np.asarray(x[:1000], np.float32)
    return bool((some == np.rint(some)).all())


def notes_on_scales(train: Array, test: Array) -> list[str]:
    """A note if the inputs of the two splits have one dtype and different scales."""
    if min(len(train), len(test)) < _ENOUGH:
        return []
    large = [max(abs(float(np.max(x))), abs(float(np.min(x)))) for x in (train, test)]
    if not 0 < min(large) * _APART < max(large):
        return []
    note = "the numbers of x_train go up to {:g}, those of x_test to {:g}; scale both alike"
    return [note.format(*large)]


def notes_on_labels(train: Array, test: Array) -> list[str]:
    """Notes on class labels, int64 `(n,)`."""
    known, tested = np.unique(train), np.unique(test)
    if len(np.union1d(known, tested)) == 1:
        return [f"every example has the label {known[0]}; there is nothing to learn"]
    return _of_gaps(np.union1d(known, tested)) + _of_unknown(np.setdiff1d(tested, known))


def _of_gaps(labels: Array) -> list[str]:
    count, last = len(labels), int(np.max(labels))
    if count == last + 1:
        return []
    note = (
        f"the labels are {listed(labels)}, not all of 0 to {last}; to number the classes from 0 "
        f"to {count - 1}, {renumbering(labels.tolist(), count)}"
    )
    return [note]


def _of_unknown(labels: Array) -> list[str]:
    if not len(labels):
        return []
    note = (
        f"no training example has the label {listed(labels)}, which test examples have; "
        "a network cannot learn it"
    )
    return [note]


def renumbering(first: list[int], count: int, last: int | None = None) -> str:
    """Advice how to number `count` classes from 0.

    `first` holds the lowest labels, sorted; `last` is the highest label if it is not among them.
    """
    low, high = first[0], first[-1] if last is None else last
    if high - low + 1 == count:
        return f"save y_train - {low} and y_test - {low}"
    return UNIQUE


def channels_first(shape: tuple[int, ...]) -> str | None:
    """A note if examples of `shape` look like (channels, height, width); else None."""
    if len(shape) != 3 or shape[2] in _CHANNELS or min(shape[1:]) < 5:
        return None
    square = shape[1] == shape[2] >= 2 * shape[0] and shape[0] <= _MOST_CHANNELS
    if shape[0] not in _CHANNELS and not square:
        return None
    return (
        f"examples of shape {shape} look like (channels, height, width), but images are "
        "(height, width, channels) here: save numpy.moveaxis(x, 1, -1)"
    )
