"""Messages to frames and back: the one door through which foreign bytes enter.

A message is a msgpack header and, behind it, one raw frame an array:

    [ msgpack [VERSION, kind, [field, ...], [[dtype, [dim, ...]], ...]], array, ... ]

`decode` raises WireError and nothing else, allocates nothing in proportion to what a header
claims, never unpickles and never evaluates; decoded arrays are read-only views of the frames.
docs/protocol.md describes the format to the byte.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Final, Literal, TypeAlias, get_args, get_origin, get_type_hints

import msgpack
import numpy as np

from protocol.messages import (
    Activation,
    Array,
    Credit,
    Evaluated,
    Failed,
    Go,
    Gradient,
    Hello,
    Leave,
    Mark,
    Message,
    Ready,
    Report,
    Start,
    State,
    Stop,
)

VERSION: Final = 1
MAX_HEADER: Final = 1 << 20
MAX_FRAMES: Final = 1 << 12
MAX_DIMENSIONS: Final = 8

KINDS: Final[dict[int, type[Message]]] = {
    1: Activation,
    2: Gradient,
    3: Credit,
    4: Mark,
    16: Hello,
    17: Start,
    18: Ready,
    19: Go,
    20: Report,
    21: Evaluated,
    22: Failed,
    23: State,
    24: Stop,
    25: Leave,
}
DTYPES: Final = {
    name: np.dtype(name)
    for name in (
        *("|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8"),
        *("<f2", "<f4", "<f8"),
    )
}

Frame: TypeAlias = bytes | memoryview
Check: TypeAlias = Callable[[object], bool]


class WireError(Exception):
    """Bytes that are no message of this protocol; the text says what is wrong with them."""


def _check(hint: object) -> Check:
    """The test that a decoded header field must pass to have the type `hint`."""
    if get_origin(hint) is Literal:
        words = get_args(hint)
        return lambda value: isinstance(value, str) and value in words
    if hint == (float | None):
        return lambda value: value is None or isinstance(value, float)
    if hint == tuple[str, ...]:
        return lambda value: isinstance(value, list) and all(isinstance(v, str) for v in value)
    kind = get_origin(hint) or hint
    if kind is int:
        return lambda value: type(value) is int and 0 <= value < 1 << 63
    if kind in (str, float, bool, dict):
        return lambda value: type(value) is kind
    raise TypeError(f"no wire form for {hint!r}")


@dataclass(frozen=True, slots=True)
class _Schema:
    """How one message class is laid out: header fields in order, then arrays.

    `arrays` names the fields of one frame each; `rest` the field, if any, that takes all frames
    behind those.
    """

    message: type[Message]
    kind: int
    scalars: tuple[tuple[str, Check], ...]
    arrays: tuple[str, ...]
    rest: str | None


def _schema(kind: int, message: type[Message]) -> _Schema:
    hints = get_type_hints(message)
    names = [f.name for f in fields(message)]
    arrays = tuple(name for name in names if hints[name] == Array)
    rest = [name for name in names if hints[name] == tuple[Array, ...]]
    return _Schema(
        message,
        kind,
        tuple((n, _check(hints[n])) for n in names if n not in arrays and n not in rest),
        arrays,
        rest[0] if rest else None,
    )


_BY_KIND: Final = {kind: _schema(kind, message) for kind, message in KINDS.items()}
_BY_CLASS: Final = {schema.message: schema for schema in _BY_KIND.values()}


def _portable(array: Array) -> Array:
    """`array` itself where it is contiguous and little-endian, else a copy that is."""
    if sys.byteorder == "big" or array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def encode(message: Message) -> list[bytes | Array]:
    """The frames of `message`; array frames share memory with the arrays in it.

    Raises TypeError for an array whose dtype is not in DTYPES: that is our mistake, not a peer's.
    """
    schema = _BY_CLASS[type(message)]
    arrays: list[Array] = [_portable(getattr(message, name)) for name in schema.arrays]
    if schema.rest is not None:
        arrays += map(_portable, getattr(message, schema.rest))
    described = [(array.dtype.str, array.shape) for array in arrays]
    for dtype, _ in described:
        if dtype not in DTYPES:
            raise TypeError(f"an array of dtype {dtype} cannot travel")
    values = [getattr(message, name) for name, _ in schema.scalars]
    header = msgpack.packb((VERSION, schema.kind, values, described))
    return [header, *arrays]


def decode(frames: Sequence[Frame]) -> Message:
    """The message in `frames`; its arrays are read-only views of them.

    Raises WireError for anything that `encode` cannot have made.
    """
    try:
        return _decode(frames)
    except WireError:
        raise
    except Exception as error:  # whatever foreign bytes provoke, it is their fault
        raise WireError(f"{type(error).__name__}: {error}") from error


def _decode(frames: Sequence[Frame]) -> Message:
    if not 1 <= len(frames) <= MAX_FRAMES:
        raise WireError(f"{len(frames)} frames")
    if len(frames[0]) > MAX_HEADER:
        raise WireError(f"a header of {len(frames[0])} bytes")
    header = msgpack.unpackb(frames[0], strict_map_key=True)
    if not isinstance(header, list) or not header:
        raise WireError("the header is not a list")
    if header[0] != VERSION:
        raise WireError(f"protocol version {header[0]!r}, this is version {VERSION}")
    _, kind, values, described = header
    schema = _BY_KIND.get(kind) if type(kind) is int else None
    if schema is None:
        raise WireError(f"unknown kind {kind!r}")
    if len(values) != len(schema.scalars):
        raise WireError(f"{schema.message.__name__} with {len(values)} fields")
    named: dict[str, object] = {}
    for (name, check), value in zip(schema.scalars, values, strict=True):
        if not check(value):
            raise WireError(f"{schema.message.__name__}.{name} is {value!r:.80}")
        named[name] = tuple(value) if isinstance(value, list) else value
    return schema.message(**named, **_arrays(schema, described, frames[1:]))  # type: ignore[arg-type]


def _arrays(schema: _Schema, described: object, frames: Sequence[Frame]) -> dict[str, object]:
    if not isinstance(described, list) or len(described) != len(frames):
        raise WireError("the header describes another number of arrays than came")
    arrays = [_view(d, shape, f) for (d, shape), f in zip(described, frames, strict=True)]
    expected = len(schema.arrays)
    if len(arrays) < expected or (len(arrays) > expected and schema.rest is None):
        raise WireError(f"{schema.message.__name__} with {len(arrays)} arrays")
    named: dict[str, object] = dict(zip(schema.arrays, arrays[:expected], strict=True))
    if schema.rest is not None:
        named[schema.rest] = tuple(arrays[expected:])
    return named


def _view(dtype: object, shape: object, frame: Frame) -> Array:
    known = DTYPES.get(dtype) if isinstance(dtype, str) else None
    if known is None:
        raise WireError(f"dtype {dtype!r:.80}")
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS:
        raise WireError(f"shape {shape!r:.80}")
    if not all(type(n) is int and n >= 0 for n in shape):
        raise WireError(f"shape {shape!r:.80}")
    claimed = math.prod(shape) * known.itemsize
    if claimed != len(frame):
        raise WireError(f"an array said to have {claimed} bytes came with {len(frame)}")
    if claimed == 0:
        return np.empty(shape, known)
    array: Array = np.frombuffer(frame, known).reshape(shape)
    array.flags.writeable = False
    return array
