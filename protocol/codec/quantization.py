"""Quantized formats for arrays of float32, for edges on which bandwidth is the limit.

float16 halves an array. int8 quarters it: each row (the first axis) has its own scale, so an
example with large numbers does not cost the others their precision. Quantization concerns only the
bytes on an edge: the receiver gets an array of float32.

A number that is not finite does not become finite. `overflows` finds finite numbers that float16
cannot hold, which would become infinite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from protocol.codec.float16 import BLOCK, from_float16, to_float16
from protocol.messages import Array

FLOAT32: Final = "float32"
FLOAT16: Final = "float16"
INT8: Final = "int8"
EDGE_DTYPES: Final = (FLOAT32, FLOAT16, INT8)
"""The formats of an edge, as a pipeline names them; arrays of `FLOAT32` are not changed."""

_FLOAT: Final = np.dtype("<f4")
_SCALE: Final = _FLOAT.itemsize
_MAX_STEP: Final = 127
_LEAST_SCALE: Final = np.finfo(np.float32).tiny
"""A row with a smaller scale, whose inverse would be infinite, is sent as zeros."""
_TOO_LARGE: Final = 65520.0
"""From there on float16 is infinite."""

Floats: TypeAlias = npt.NDArray[np.float32]
Data: TypeAlias = bytes | memoryview
SIZES: Final = {FLOAT16: (2, 0), INT8: (1, _SCALE)}
"""For each quantized format: bytes per number, and bytes per row in addition."""


def can_quantize(shape: Sequence[int], dtype: np.dtype[np.generic], edge_dtype: str) -> bool:
    """Whether an array of this shape and dtype is changed on an edge with this format."""
    return edge_dtype != FLOAT32 and dtype == np.float32 and len(shape) > 0


def encoded_size(shape: Sequence[int], dtype: np.dtype[np.generic], edge_dtype: str) -> int:
    """Bytes of an array of this shape and dtype on an edge with this format."""
    count = math.prod(shape)
    if not can_quantize(shape, dtype, edge_dtype):
        return count * dtype.itemsize
    per_number, per_row = SIZES[edge_dtype]
    return per_number * count + per_row * shape[0]


def overflows(array: Array, edge_dtype: str) -> bool:
    """Whether finite numbers in `array` become infinite on an edge with this format."""
    if edge_dtype != FLOAT16 or not can_quantize(array.shape, array.dtype, edge_dtype):
        return False
    return max(float(np.max(array, initial=0)), -float(np.min(array, initial=0))) >= _TOO_LARGE


def quantize(array: Array, edge_dtype: str) -> Array:
    """The bytes of `array`, which is contiguous and `can_quantize`, in the format `edge_dtype`."""
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = array.astype(np.float32, copy=False)
        return to_float16(numbers) if edge_dtype == FLOAT16 else _to_int8(numbers)


def _to_int8(array: Floats) -> npt.NDArray[np.uint8]:
    """The scales of the rows of `array`, then its numbers in steps of the scale of their row."""
    count, width = len(array), math.prod(array.shape[1:])
    rows = array.reshape(count, width)
    data = np.empty(count * (_SCALE + width), np.uint8)
    scales = data[: _SCALE * count].view(_FLOAT)
    steps = data[_SCALE * count :].view(np.int8).reshape(count, width)
    at_once = max(1, BLOCK // max(1, width))
    for start in range(0, count, at_once):
        block = slice(start, start + at_once)
        _fill_steps(rows[block], scales[block], steps[block])
    return data


def _fill_steps(rows: Floats, scales: Floats, steps: npt.NDArray[np.int8]) -> None:
    """Fill in `scales` and `steps`; a row that is not finite gets such a scale and steps of 0."""
    work = np.abs(rows)
    np.divide(work.max(axis=1, initial=0), _MAX_STEP, out=scales)
    scales[scales < _LEAST_SCALE] = 0
    usable = (scales > 0) & np.isfinite(scales)
    inverse = np.divide(1, scales, out=np.zeros_like(scales), where=usable)
    np.multiply(rows, inverse[:, None], out=work)
    np.rint(work, out=work)
    np.copyto(steps, work, casting="unsafe")
    if not usable.all():
        steps[~usable] = 0


def dequantize(edge_dtype: str, shape: tuple[int, ...], data: Data) -> Array:
    """The read-only array of float32 of which `data` are the bytes in the format `edge_dtype`."""
    array = _from_float16(shape, data) if edge_dtype == FLOAT16 else _from_int8(shape, data)
    array.flags.writeable = False
    return array


def _from_float16(shape: tuple[int, ...], data: Data) -> Floats:
    return from_float16(np.ndarray(shape, "<u2", data))


def _from_int8(shape: tuple[int, ...], data: Data) -> Floats:
    count, width = shape[0], math.prod(shape[1:])
    scales = np.ndarray((count, 1), _FLOAT, data)
    steps = np.ndarray((count, width), np.int8, data, _SCALE * count)
    with np.errstate(over="ignore", invalid="ignore"):
        rows: Floats = np.multiply(steps, scales, dtype=np.float32)
    return rows.reshape(shape)
