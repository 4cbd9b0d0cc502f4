"""Frames to data messages: the receiver's half of the hot path of training.

The functions here may raise any exception for bytes that are no message; `decode` makes a WireError
of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from protocol.codec import quantization
from protocol.codec.arrays import Frame, Rest, View, WireError
from protocol.codec.binary_header import (
    ACTIVATION,
    ALIGNMENT,
    CODES,
    CREDIT,
    DIMENSIONS,
    FORMATS,
    GRADIENT,
    HEADER,
    IN_FRAME,
    IN_SHARED_MEMORY,
    INSIDE,
    MARKER,
    MARKER_NAMES,
    Shape,
    lead,
)
from protocol.codec.version import VERSION
from protocol.messages import Activation, Array, Credit, DataMessage, Gradient, Marker

Numbers: TypeAlias = tuple[int, ...]
"""The eight numbers of a header."""
Reader: TypeAlias = Callable[[Numbers, bytes, Sequence[Frame], View | None, Rest], DataMessage]
"""Takes the numbers of a header, the header, all frames that have come, what reads shared memory,
and what receives further frames."""

_unpack: Final = HEADER.unpack_from
_ndarray: Final = np.ndarray
_make: Final = tuple.__new__
_DTYPES: Final = {code: dtype for dtype, code in CODES.items()}
_INSIDE: Final = [_DTYPES.get(code) for code in range(256)]
"""By the byte with format and location: the dtype of an array that lies inside, not quantized."""
_SHARED: Final = {code | IN_SHARED_MEMORY: dtype for code, dtype in _DTYPES.items()}
_QUANTIZED: Final = {FORMATS[name]: name for name in quantization.SIZES}
_DIMENSIONS: Final = [
    [(dimensions.unpack_from, HEADER.size + dimensions.size) for dimensions in row]
    for row in DIMENSIONS
]
"""What unpacks the dimensions, and where the first array inside begins."""


def decode_data(frames: Sequence[Frame], view: View | None, rest: Rest) -> DataMessage:
    """The message in `frames`."""
    header = frames[0]
    if type(header) is not bytes:
        header = bytes(header)
    numbers = _unpack(header)
    read = _READERS.get(numbers[0])
    if read is None:
        raise WireError(_refusal(header))
    try:
        return read(numbers, header, frames, view, rest)
    except IndexError:  # of _DIMENSIONS
        raise WireError(f"arrays of {numbers[2]} and {numbers[4]} dimensions") from None


def _refusal(header: bytes) -> str:
    """Why the first four bytes of `header` are those of no message."""
    version, kind, detail = header[1:4]
    if version != VERSION:
        return f"protocol version {version}, this is version {VERSION}"
    return f"unknown kind {kind} of a data message, or unknown detail {detail} of it"


def _activation(
    numbers: Numbers, header: bytes, frames: Sequence[Frame], view: View | None, rest: Rest
) -> Activation:
    head, code0, ndim0, code1, ndim1, batch, step, offset = numbers
    if batch | step < 0:
        raise WireError(f"Activation.batch is {batch}, Activation.step {step}")
    unpack, at = _DIMENSIONS[ndim0][ndim1]
    shapes = unpack(header, 32)
    shape, other = shapes[:ndim0], shapes[ndim0:]
    dtype, labels_dtype = _INSIDE[code0], _INSIDE[code1]
    if dtype is not None and labels_dtype is not None and not offset and len(frames) == 1:
        x = _ndarray(shape, dtype, header, at)
        at += x.nbytes + 15 & -ALIGNMENT
    elif labels_dtype is not None and code0 in _SHARED and view is not None and len(frames) == 1:
        x = _shared(_SHARED[code0], shape, offset, view)
    else:
        both = ((code0, shape), (code1, other))
        x, labels = _arrays(both, at, offset, header, frames, view, rest)
        return _make(Activation, (batch, step, head == _TRAINING, x, labels))
    labels = _ndarray(other, labels_dtype, header, at)
    if at + labels.nbytes != len(header):
        raise WireError(f"a header of {len(header)} bytes, not {at + labels.nbytes}")
    return _make(Activation, (batch, step, head == _TRAINING, x, labels))


def _gradient(
    numbers: Numbers, header: bytes, frames: Sequence[Frame], view: View | None, rest: Rest
) -> Gradient:
    _, code, ndim, code1, ndim1, batch, credit, offset = numbers
    if batch | credit < 0 or code1 or ndim1:
        raise WireError("Gradient with a negative number or a second array")
    unpack, at = _DIMENSIONS[ndim][0]
    shape, dtype = unpack(header, 32), _INSIDE[code]
    if dtype is not None and not offset and len(frames) == 1:
        gradient = _ndarray(shape, dtype, header, at)
        if at + gradient.nbytes != len(header):
            raise WireError(f"a header of {len(header)} bytes, not {at + gradient.nbytes}")
    elif code in _SHARED and view is not None and at == len(header) and len(frames) == 1:
        gradient = _shared(_SHARED[code], shape, offset, view)
    else:
        (gradient,) = _arrays(((code, shape),), at, offset, header, frames, view, rest)
    return _make(Gradient, (batch, credit, gradient))


def _shared(dtype: np.dtype[Any], shape: Shape, offset: int, view: View) -> Array:
    return _ndarray(shape, dtype, view(offset, dtype.itemsize * math.prod(shape)))


def _credit(numbers: Numbers, header: bytes, frames: Sequence[Frame], *_: object) -> Credit:
    _require_bare(numbers, header, frames)
    return Credit(numbers[5])


def _marker(numbers: Numbers, header: bytes, frames: Sequence[Frame], *_: object) -> Marker:
    _require_bare(numbers, header, frames)
    return Marker(MARKER_NAMES[header[3]], numbers[5])


def _require_bare(numbers: Numbers, header: bytes, frames: Sequence[Frame]) -> None:
    """Raise WireError unless the message is its first four bytes and one number."""
    if len(header) != HEADER.size or len(frames) > 1:
        raise WireError("a Credit or a Marker with arrays")
    _, *codes, number, second, offset = numbers
    if number < 0 or second or offset or codes != [0, 0, 0, 0]:
        raise WireError("a Credit or a Marker with a negative or a second number")


_TRAINING: Final = lead(ACTIVATION, 1)
_READERS: Final[dict[int, Reader]] = {
    lead(ACTIVATION, 0): _activation,
    lead(ACTIVATION, 1): _activation,
    lead(GRADIENT): _gradient,
    lead(CREDIT): _credit,
    **{lead(MARKER, number): _marker for number in range(len(MARKER_NAMES))},
}


# -- arrays in frames of their own, quantized arrays, and what is refused


def _arrays(
    codes_and_shapes: Sequence[tuple[int, Shape]],
    end: int,
    offset: int,
    header: bytes,
    frames: Sequence[Frame],
    view: View | None,
    rest: Rest,
) -> list[Array]:
    """The arrays with these codes and shapes; the header without arrays has `end` bytes."""
    arrays: list[Array] = []
    used = 1
    for i, (code, shape) in enumerate(codes_and_shapes):
        size, location = _size(code & 0x0F, shape), code & 0xF0
        if location == INSIDE:
            begin = end + 15 & -ALIGNMENT
            end = begin + size
            data = memoryview(header)[begin:end]
        elif location == IN_FRAME:
            frames = [*frames, *rest()] if len(frames) == 1 else frames
            if used == len(frames):
                raise WireError("fewer frames came than the header describes")
            data = memoryview(frames[used]).toreadonly().cast("B")
            used += 1
        elif location == IN_SHARED_MEMORY and i == 0 and view is not None:
            data, offset = view(offset, size), 0
        else:
            raise WireError(f"array {i} has the location {location:#04x}")
        if len(data) != size:
            raise WireError(f"array {i} has {len(data)} bytes, not {size}")
        arrays.append(_array(code & 0x0F, shape, data))
    if used != len(frames) or end != len(header) or offset:
        raise WireError("more came than the header describes")
    return arrays


def _size(number: int, shape: Shape) -> int:
    """Bytes of an array in the format with this number."""
    if number in _DTYPES:
        return _DTYPES[number].itemsize * math.prod(shape)
    if number not in _QUANTIZED:
        raise WireError(f"unknown format {number} of an array")
    per_number, per_row = quantization.SIZES[_QUANTIZED[number]]
    if per_row and not shape:
        raise WireError("an array without rows in a format with a scale per row")
    return per_number * math.prod(shape) + (per_row * shape[0] if per_row else 0)


def _array(number: int, shape: Shape, data: memoryview) -> Array:
    """A read-only array of `data`; float32 if the format is a quantized one."""
    if number in _DTYPES:
        return _ndarray(shape, _DTYPES[number], data)
    return quantization.dequantize(_QUANTIZED[number], shape, data)
