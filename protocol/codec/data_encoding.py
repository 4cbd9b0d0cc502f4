"""Data messages to frames: the sender's half of the hot path of training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from operator import index
from struct import error
from typing import Any, Final

import numpy as np

from protocol.codec import limits, quantization
from protocol.codec.arrays import Place, portable
from protocol.codec.binary_header import (
    ACTIVATION,
    ALIGNMENT,
    CODES,
    CREDIT,
    DIMENSIONS,
    FORMATS,
    GRADIENT,
    HEADER_OF_CODES,
    IN_FRAME,
    IN_SHARED_MEMORY,
    INSIDE,
    MARKER,
    MARKER_NAMES,
    DType,
    Shape,
    lead,
)
from protocol.codec.quantization import FLOAT32
from protocol.messages import Activation, Array, Credit, DataMessage, Gradient, Marker

_pack: Final = HEADER_OF_CODES.pack
_join: Final[Callable[[Iterable[Any]], bytes]] = b"".join
_ACTIVATIONS: Final = {False: lead(ACTIVATION, 0), True: lead(ACTIVATION, 1)}
_GRADIENT: Final = lead(GRADIENT)
_CREDIT: Final = lead(CREDIT)
_MARKERS: Final = {name: lead(MARKER, number) for number, name in enumerate(MARKER_NAMES)}
_NO_ARRAYS: Final = bytes(4)
_PADDING: Final = [bytes(-size % ALIGNMENT) for size in range(ALIGNMENT)]
_NOT_PLAIN: Final = (TypeError, KeyError, IndexError, OverflowError, error)
"""What the fast path raises for a message that needs the general path, or cannot be sent."""


def encode_data(
    message: DataMessage, place: Place | None = None, edge_dtype: str = FLOAT32
) -> list[bytes | Array]:
    """The frames of `message`; array frames share memory with its arrays.

    Array 0 travels in the format `edge_dtype`; if it is not small it goes to `place`, if there is
    one. Raises TypeError for a message that cannot be sent.
    """
    try:
        if edge_dtype == FLOAT32 and (frames := _encode_plain(message, place)):
            return frames
    except _NOT_PLAIN:
        pass
    try:
        return _encode(message, place, edge_dtype)
    except (KeyError, OverflowError, error):
        values = zip(message._fields, message, strict=True)
        names = ", ".join(name for name, value in values if not isinstance(value, np.ndarray))
        text = f"{type(message).__name__} cannot be sent: a value out of range among {names}"
        raise TypeError(text) from None


# -- arrays that lie in memory as they are sent, with small labels


def _encode_plain(message: DataMessage, place: Place | None) -> list[bytes | Array] | None:
    """The frames of most messages.

    Returns None or raises one of `_NOT_PLAIN` for the others, before anything is placed.
    """
    if isinstance(message, Activation):
        batch, step, train, x, labels = message
        size, head = x.nbytes, _ACTIVATIONS[train]
        codes, dimensions = _description(x.dtype, x.shape, labels.dtype, labels.shape)
        if (batch | step) >> 63:
            return None
        if size + labels.nbytes <= limits.INLINE:
            header = _pack(head, codes[INSIDE], batch, step, 0)
            return [_join((header, dimensions, x, _PADDING[size % ALIGNMENT], labels))]
        if size > limits.INLINE >= labels.nbytes and labels.flags.c_contiguous:
            return _outside(head, codes, batch, step, x, place, dimensions, labels)
    elif isinstance(message, Gradient):
        batch, credit, gradient = message
        codes, dimensions = _description(gradient.dtype, gradient.shape)
        if (batch | credit) >> 63:
            return None
        if gradient.nbytes <= limits.INLINE:
            header = _pack(_GRADIENT, codes[INSIDE], batch, credit, 0)
            return [_join((header, dimensions, gradient))]
        return _outside(_GRADIENT, codes, batch, credit, gradient, place, dimensions)
    elif isinstance(message, Credit) and message.credit >= 0:
        return [_pack(_CREDIT, _NO_ARRAYS, message.credit, 0, 0)]
    return None


@lru_cache(maxsize=256)
def _description(
    dtype: DType, shape: Shape, other_dtype: DType | None = None, other: Shape = ()
) -> tuple[dict[int, bytes], bytes]:
    """What describes one array, or two of which the second lies inside the header.

    Returns four bytes of the header, by the location of the first array, and the dimensions.
    """
    code = CODES[other_dtype] if other_dtype is not None else 0
    codes = {
        location: bytes((CODES[dtype] | location, len(shape), code, len(other)))
        for location in (INSIDE, IN_FRAME, IN_SHARED_MEMORY)
    }
    return codes, DIMENSIONS[len(shape)][len(other)].pack(*shape, *other)


def _outside(
    head: int,
    codes: dict[int, bytes],
    first: int,
    second: int,
    array: Array,
    place: Place | None,
    *parts: bytes | Array,
) -> list[bytes | Array] | None:
    """The frames of a message whose array 0 goes to `place`, else into a frame of its own."""
    start = place(array) if place is not None else None
    if start is not None:
        return [_join((_pack(head, codes[IN_SHARED_MEMORY], first, second, start), *parts))]
    if array.flags.c_contiguous:
        return [_join((_pack(head, codes[IN_FRAME], first, second, 0), *parts)), array]
    return None


# -- everything else


def _encode(message: DataMessage, place: Place | None, edge_dtype: str) -> list[bytes | Array]:
    """The frames of `message`, whatever its arrays are like."""
    match message:
        case Activation(batch, step, train, x, labels):
            return _general(_ACTIVATIONS[train], batch, step, (x, labels), place, edge_dtype)
        case Gradient(batch, credit, gradient):
            return _general(_GRADIENT, batch, credit, (gradient,), place, edge_dtype)
        case Credit(credit):
            return _general(_CREDIT, credit, 0)
        case Marker(marker, step):
            return _general(_MARKERS[marker], step, 0)


def _general(
    head: int,
    first: int,
    second: int,
    arrays: Sequence[Array] = (),
    place: Place | None = None,
    edge_dtype: str = FLOAT32,
) -> list[bytes | Array]:
    """The frames of a message with `arrays`, of which array 0 may be quantized and placed."""
    if not (0 <= index(first) < 1 << 63 and 0 <= index(second) < 1 << 63):
        raise OverflowError
    formatted = [_formatted(array, FLOAT32 if i else edge_dtype) for i, array in enumerate(arrays)]
    codes, offset, room = bytearray(4), 0, limits.INLINE
    inside: list[Array | bytes] = []
    frames: list[bytes | Array] = [b""]
    for i, (code, array) in enumerate(formatted):
        location = 0
        if array.nbytes <= room:
            room -= array.nbytes
            inside += (array, _PADDING[array.nbytes % ALIGNMENT])
        elif i == 0 and place is not None and (start := place(array)) is not None:
            location, offset = IN_SHARED_MEMORY, start
        else:
            location = IN_FRAME
            frames.append(array)
        codes[2 * i : 2 * i + 2] = code | location, arrays[i].ndim
    dimensions = [dimension for array in arrays for dimension in array.shape]
    header = _pack(head, bytes(codes), first, second, offset)
    packed = DIMENSIONS[codes[1]][codes[3]].pack(*dimensions)
    frames[0] = _join((header, packed, *inside[:-1]))
    return frames


def _formatted(array: Array, edge_dtype: str) -> tuple[int, Array]:
    """The number of the format in which `array` is sent, and the array to send in its place."""
    array = portable(array)
    code = CODES.get(array.dtype)
    if code is None or array.ndim > limits.MAX_DIMENSIONS:
        raise TypeError(f"an array of dtype {array.dtype} and shape {array.shape} cannot be sent")
    if quantization.can_quantize(array.shape, array.dtype, edge_dtype):
        array, code = quantization.quantize(array, edge_dtype), FORMATS[edge_dtype]
    return code, array
