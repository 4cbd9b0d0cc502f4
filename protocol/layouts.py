"""Activations and gradients whose arrays lie in the header, made and read without msgpack.

From batch to batch nothing changes on an edge but the numbers and the data. With every number in
the nine bytes of a uint64 all else stays where it is, and a layout is what all else is and where.
What is written here is what `encode` would write. What is read here is like that in all but the
numbers and the data, and is what `decode` would read; all else is left to those two.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from struct import Struct, error
from typing import Any, Final, TypeAlias

import msgpack
import numpy as np

from protocol.messages import Activation, Array, Gradient, Message
from protocol.schema import BY_CLASS, DTYPES

INLINE: Final = 1 << 13
"""Bytes of arrays that are put into a header; any number is taken."""
MAX_DIMENSIONS: Final = 8
MOST: Final = 256
"""Layouts known at once, of what is sent and of what is received."""

DType: TypeAlias = np.dtype[np.generic]
Form: TypeAlias = DType | str
Shape: TypeAlias = tuple[int, ...]
Layout: TypeAlias = tuple[bytes, ...]
"""What stands before the data of each array; nothing where they do not all lie in a header."""
Reader: TypeAlias = Callable[[bytes], Message | None]
Unpack: TypeAlias = Callable[[bytes], tuple[Any, ...]]

_NAMES: Final = {dtype: name for name, dtype in DTYPES.items()}
_UINT64: Final = b"\xcf"
_FALSE: Final = b"\xc2"
_TRUE: Final = b"\xc3"
_FLAGS: Final = {False: _FALSE, True: _TRUE}
_ACTIVATION: Final = BY_CLASS[Activation].opening + b"\x93" + _UINT64
_GRADIENT: Final = BY_CLASS[Gradient].opening + b"\x92" + _UINT64
_ACTIVATION_HEAD: Final = f">{len(_ACTIVATION)}sqcqc"
_GRADIENT_HEAD: Final = f">{len(_GRADIENT)}sqcq"
_pack_activation: Final = Struct(_ACTIVATION_HEAD).pack
_pack_gradient: Final = Struct(_GRADIENT_HEAD).pack
_REFUSED: Final = (TypeError, KeyError, OverflowError, error)
"""What is raised where a message holds what cannot travel."""

_join: Final[Callable[[tuple[Any, ...]], bytes]] = b"".join
_array: Final = np.ndarray
_make: Final = tuple.__new__

_layouts: Final[dict[tuple[object, ...], Layout]] = {}
_readers: Final[dict[int, Reader]] = {}
"""By the length of the frame; the first of a length stays."""


@lru_cache
def described(form: Form, shape: Shape, size: int | None) -> bytes:
    """What stands in a header before the data of an array of `size` bytes there, None: its place.

    `form` is the array's dtype, or the name of the form in which it travels.
    """
    name = form if isinstance(form, str) else _NAMES.get(form)
    if name is None or len(shape) > MAX_DIMENSIONS:
        raise TypeError(f"an array of dtype {form} and shape {shape} cannot travel")
    whole: bytes = msgpack.packb((name, shape, None if size is None else bytes(size)))
    return whole[:-1] if size is None else whole[: -size or None]


def _laid_out(*arrays: Array) -> Layout:
    """The layout of a message with `arrays`, from now on known."""
    parts = []
    if sum(array.nbytes for array in arrays) <= INLINE:
        parts = [described(array.dtype, array.shape, array.nbytes) for array in arrays]
        parts[0] = msgpack.packb([None] * len(arrays))[:1] + parts[0]
    if len(_layouts) >= MOST:
        _layouts.clear()
    key = tuple(part for array in arrays for part in (array.dtype, array.shape))
    layout = _layouts[key] = tuple(parts)
    return layout


def _begin_activation(batch: int, step: int, train: bool) -> bytes:
    if batch | step < 0:
        raise TypeError
    return _pack_activation(_ACTIVATION, batch, _UINT64, step, _FLAGS[train])


def _begin_gradient(batch: int, credit: int) -> bytes:
    if batch | credit < 0:
        raise TypeError
    return _pack_gradient(_GRADIENT, batch, _UINT64, credit)


def head(message: Activation | Gradient) -> bytes:
    """How a header of `message` begins, up to what tells of its arrays.

    Raises TypeError for numbers that cannot travel.
    """
    try:
        if isinstance(message, Activation):
            return _begin_activation(message.batch, message.step, message.train)
        return _begin_gradient(message.batch, message.credit)
    except _REFUSED:
        *fields, last = message._fields[: -len(BY_CLASS[type(message)].arrays(message))]
        name = type(message).__name__
        raise TypeError(f"{name} with such {', '.join(fields)} or {last} cannot travel") from None


def write(message: Message) -> bytes | None:
    """The only frame of `message`; None if it is not for this module to make."""
    try:
        if isinstance(message, Activation):
            batch, step, train, x, labels = message
            layout = _layouts.get((x.dtype, x.shape, labels.dtype, labels.shape))
            if layout is None:
                layout = _laid_out(x, labels)
            if layout:
                begin = _begin_activation(batch, step, train)
                return _join((begin, layout[0], x, layout[1], labels))
        elif isinstance(message, Gradient):
            batch, credit, gradient = message
            layout = _layouts.get((gradient.dtype, gradient.shape))
            if layout is None:
                layout = _laid_out(gradient)
            if layout:
                return _join((_begin_gradient(batch, credit), layout[0], gradient))
    except _REFUSED:  # what cannot travel, or an array that does not lie in memory as it travels
        return None
    return None


def read(frame: bytes) -> Message | None:
    """The message in `frame`, as `decode` makes it; None if it is not for this module to say."""
    reader = _readers.get(len(frame))
    return reader(frame) if reader else None


def learn(message: Message, frame: bytes) -> None:
    """Know from now on how `message` was laid out, if that was `frame` and this module's way."""
    if len(frame) in _readers or write(message) != frame:
        return
    if len(_readers) >= MOST:
        _readers.clear()
    if isinstance(message, Activation):
        _readers[len(frame)] = _activations(message.x, message.labels)
    elif isinstance(message, Gradient):
        _readers[len(frame)] = _gradients(message.gradient)


def _parts(head: str, before: Layout, *arrays: Array) -> Unpack:
    """What takes a frame apart: numbers, then what stands before the data and the data in turn.

    The data are copied out of the frame: within it arrays would lie at odd addresses, where numpy
    is slower and adds up in another order.
    """
    for part, array in zip(before, arrays, strict=True):
        head += f"{len(part)}s{array.nbytes}s"
    return Struct(head).unpack


def _activations(x: Array, labels: Array) -> Reader:
    """What reads activations with arrays like these."""
    before, between = _laid_out(x, labels)
    training, testing = _TRUE + before, _FALSE + before
    unpack = _parts(_ACTIVATION_HEAD[:-1], (training, between), x, labels)
    x_dtype, x_shape, dtype, shape = x.dtype, x.shape, labels.dtype, labels.shape

    def read(frame: bytes) -> Activation | None:
        opening, batch, uint64, step, first, x, second, labels = unpack(frame)
        train = first == training
        if (
            opening == _ACTIVATION
            and uint64 == _UINT64
            and second == between
            and (train or first == testing)
            and batch >= 0
            and step >= 0
        ):
            x, labels = _array(x_shape, x_dtype, x), _array(shape, dtype, labels)
            return _make(Activation, (batch, step, train, x, labels))
        return None

    return read


def _gradients(gradient: Array) -> Reader:
    """What reads gradients with an array like this."""
    (before,) = _laid_out(gradient)
    unpack = _parts(_GRADIENT_HEAD, (before,), gradient)
    dtype, shape = gradient.dtype, gradient.shape

    def read(frame: bytes) -> Gradient | None:
        opening, batch, uint64, credit, first, data = unpack(frame)
        if (
            opening == _GRADIENT
            and uint64 == _UINT64
            and first == before
            and batch >= 0
            and credit >= 0
        ):
            return _make(Gradient, (batch, credit, _array(shape, dtype, data)))
        return None

    return read
