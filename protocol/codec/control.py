"""Control messages to frames and back: a msgpack header.

    [VERSION, kind, [field, ...], [[dtype, [dimension, ...], data], ...]]

`data` is the bytes of a small array, or nil for an array in the next frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgpack
import numpy as np

from protocol.codec import limits
from protocol.codec.arrays import DTYPE_NAMES, DTYPES, Frame, Rest, WireError, portable
from protocol.codec.schema import BY_CLASS, BY_KIND, Schema
from protocol.codec.version import VERSION
from protocol.messages import Array, Message

_pack: Final = msgpack.Packer().pack


def encode_control(message: Message) -> list[bytes | Array]:
    """The frames of `message`; array frames share memory with its arrays.

    Raises TypeError for a message that cannot be sent.
    """
    schema = BY_CLASS[type(message)]
    descriptions: list[object] = []
    frames: list[bytes | Array] = [b""]
    room = limits.INLINE
    for array in map(portable, schema.arrays(message)):
        name = DTYPE_NAMES.get(array.dtype)
        if name is None or array.ndim > limits.MAX_DIMENSIONS:
            text = f"dtype {array.dtype} and shape {array.shape}"
            raise TypeError(f"an array of {text} cannot be sent")
        if array.nbytes <= room:
            room -= array.nbytes
            descriptions.append((name, array.shape, array.tobytes()))
        else:
            frames.append(array)
            descriptions.append((name, array.shape, None))
    frames[0] = header = _pack((VERSION, schema.kind, schema.values(message), descriptions))
    if len(header) > limits.MAX_HEADER or len(descriptions) > limits.MAX_ARRAYS:
        raise TypeError(
            f"a header of {len(header)} bytes with {len(descriptions)} arrays cannot be sent"
        )
    return frames


def decode_control(frames: Sequence[Frame], rest: Rest) -> Message:
    """The message in `frames`. May raise any exception for bytes that are no message."""
    header = msgpack.unpackb(
        frames[0],
        use_list=False,
        max_array_len=limits.MAX_ARRAYS,
        max_map_len=limits.MAX_ARRAYS,
    )
    if type(header) is not tuple:
        raise WireError("the header is not a list")
    if header[0] != VERSION or type(header[0]) is not int:
        raise WireError(f"protocol version {header[0]!r:.80}, this is version {VERSION}")
    _, kind, values, descriptions = header
    if type(kind) is not int or kind not in BY_KIND:
        raise WireError(f"unknown kind {kind!r:.80} of a control message")
    schema = BY_KIND[kind]
    _check_fields(schema, values)
    if type(descriptions) is not tuple:
        raise WireError("the arrays are not described in a list")
    if schema.count is not None and len(descriptions) != schema.count:
        raise WireError(f"{schema.message.__name__} with {len(descriptions)} arrays")
    arrays = _arrays(descriptions, frames, rest)
    return schema.make((*values, *arrays) if schema.count is not None else (*values, arrays))


def _check_fields(schema: Schema, values: object) -> None:
    name = schema.message.__name__
    if type(values) is not tuple or len(values) != len(schema.checks):
        raise WireError(f"{name} with the fields {values!r:.80}")
    for field, check, value in zip(schema.names, schema.checks, values, strict=True):
        if not check(value):
            raise WireError(f"{name}.{field} is {value!r:.80}")


def _arrays(
    descriptions: tuple[Any, ...], frames: Sequence[Frame], rest: Rest
) -> tuple[Array, ...]:
    """The arrays that `descriptions` describe, inside the header or in the next frames."""
    arrays: list[Array] = []
    used = 1
    for name, shape, data in descriptions:
        size = _size(name, shape)
        if data is None:
            if len(frames) == 1:
                frames = [*frames, *rest()]
            if used == len(frames):
                raise WireError("fewer frames came than the header describes")
            data = memoryview(frames[used]).toreadonly().cast("B")
            used += 1
        elif type(data) is not bytes:
            raise WireError(f"an array inside the header is {data!r:.80}")
        if len(data) != size:
            raise WireError(f"an array has {len(data)} bytes, not {size}")
        arrays.append(np.ndarray(shape, DTYPES[name], data))
    if used != len(frames):
        raise WireError("more frames came than the header describes")
    return tuple(arrays)


def _size(name: object, shape: object) -> int:
    """Bytes of an array as described. Raises WireError for a dtype or shape that is none."""
    if type(name) is not str or name not in DTYPES:
        raise WireError(f"unknown dtype {name!r:.80}")
    if type(shape) is not tuple or len(shape) > limits.MAX_DIMENSIONS:
        raise WireError(f"an array of shape {shape!r:.80}")
    size = DTYPES[name].itemsize
    for dimension in shape:
        if type(dimension) is not int or dimension < 0:
            raise WireError(f"an array of shape {shape!r:.80}")
        size *= dimension
    return size
