"""Narrower forms in which arrays of float32 may travel, for links on which bytes are the price.

float16 halves an array. int8 quarters it: each row, the first axis, has its own scale, so an
example with large numbers does not cost the others their digits. A form is a way to write an
array down and no other array: who receives one has float32 again, and nobody else need know.

Nothing that is not finite becomes finite on the way. `overflows` tells beforehand of finite
numbers that float16 cannot hold, which become infinite.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from protocol.codec.float16 import BLOCK, floats, halves
from protocol.messages import Array

FULL: Final = "float32"
WIRES: Final = (FULL, "float16", "int8")
"""How wide numbers travel, in the words of a pipeline."""
F2, I1 = "<f4:f2", "<f4:i1"
"""The same two in the words of a header, where the array's dtype stands."""

_FLOAT: Final = np.dtype("<f4")
_SCALE: Final = _FLOAT.itemsize
_STEPS: Final = 127
_LEAST_SCALE: Final = np.finfo(np.float32).tiny
"""A row with a smaller scale, whose inverse would be infinite, travels as zeros."""
_TOO_LARGE: Final = 65520.0
"""From here on float16 is infinite."""

Floats: TypeAlias = npt.NDArray[np.float32]
Data: TypeAlias = bytes | memoryview


def narrows(shape: Sequence[int], dtype: np.dtype[np.generic], wire: str) -> bool:
    """Whether such an array has another form on a way of the width `wire`."""
    return wire != FULL and dtype == np.float32 and len(shape) > 0


def size(shape: Sequence[int], dtype: np.dtype[np.generic], wire: str) -> int:
    """Bytes of such an array on a way of the width `wire`."""
    number = math.prod(shape)
    if not narrows(shape, dtype, wire):
        return number * dtype.itemsize
    return 2 * number if wire == "float16" else number + _SCALE * shape[0]


def overflows(array: Array, wire: str) -> bool:
    """Whether finite numbers in `array` become infinite on a way of the width `wire`."""
    if wire != "float16" or not narrows(array.shape, array.dtype, wire):
        return False
    return max(float(np.max(array, initial=0)), -float(np.min(array, initial=0))) >= _TOO_LARGE


def pack(array: Array, wire: str) -> tuple[str, Array]:
    """What the form is called, and its bytes. `array` is one that `narrows`, and contiguous."""
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = array.astype(np.float32, copy=False)
        return (F2, halves(numbers)) if wire == "float16" else (I1, _in_steps(numbers))


def _in_steps(array: Floats) -> npt.NDArray[np.uint8]:
    """The scales of the rows of `array`, then its numbers in steps of them."""
    count, width = len(array), math.prod(array.shape[1:])
    rows = array.reshape(count, width)
    data = np.empty(count * (_SCALE + width), np.uint8)
    scales = data[: _SCALE * count].view(_FLOAT)
    steps = data[_SCALE * count :].view(np.int8).reshape(count, width)
    at_once = max(1, BLOCK // max(1, width))
    for start in range(0, count, at_once):
        block = slice(start, start + at_once)
        _count_steps(rows[block], scales[block], steps[block])
    return data


def _count_steps(rows: Floats, scales: Floats, steps: npt.NDArray[np.int8]) -> None:
    """Fill in `scales`, not finite where a row is not, and `steps`, which are 0 there."""
    work = np.abs(rows)
    np.divide(work.max(axis=1, initial=0), _STEPS, out=scales)
    scales[scales < _LEAST_SCALE] = 0
    usable = (scales > 0) & np.isfinite(scales)
    inverse = np.divide(1, scales, out=np.zeros_like(scales), where=usable)
    np.multiply(rows, inverse[:, None], out=work)
    np.rint(work, out=work)
    np.copyto(steps, work, casting="unsafe")
    if not usable.all():
        steps[~usable] = 0


def _of_halves(shape: tuple[int, ...], data: Data) -> Array:
    return floats(np.ndarray(shape, "<u2", data))


def _of_steps(shape: tuple[int, ...], data: Data) -> Array:
    count, width = shape[0], math.prod(shape[1:])
    scales = np.ndarray((count, 1), _FLOAT, data)
    steps = np.ndarray((count, width), np.int8, data, _SCALE * count)
    with np.errstate(over="ignore", invalid="ignore"):
        rows: Floats = np.multiply(steps, scales, dtype=np.float32)
    return rows.reshape(shape)


def unpacked(form: str, shape: tuple[int, ...], data: Data) -> Array:
    """The array of float32 that `data` in this form tell of, read-only as all that came."""
    array = UNPACK[form](shape, data)
    array.flags.writeable = False
    return array


UNPACK: Final[dict[str, Callable[[tuple[int, ...], Data], Array]]] = {F2: _of_halves, I1: _of_steps}
SIZES: Final = {F2: (2, 0), I1: (1, _SCALE)}
"""Of each form the bytes of a number, and of what there is once a row."""
