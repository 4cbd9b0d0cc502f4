"""Activations and gradients that are a header and nothing else, made and read without msgpack.

Their arrays lie in the header, but for a large first one that lies on a shelf. From batch to batch
nothing changes on an edge but the numbers and the data. With every number in the nine bytes of a
uint64 all else stays where it is, and a layout is what all else is and where. What is written here
is what `encode` would write. What is read here is like that in all but the numbers and the data,
and is what `decode` would read; all else is left to those two.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from struct import Struct, error
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import msgpack
import numpy as np

from protocol.codec.schema import BY_CLASS, DTYPES
from protocol.messages import Activation, Array, Gradient, Message

INLINE: Final = 1 << 13
"""Bytes of arrays that are put into a header; any number is taken."""
MAX_DIMENSIONS: Final = 8
MOST: Final = 256
"""Layouts known at once, of what is sent and, by their lengths, of what is received."""
ALIKE: Final = 4
"""Layouts of one length that are read."""

DType: TypeAlias = np.dtype[np.generic]
Form: TypeAlias = DType | str
Shape: TypeAlias = tuple[int, ...]


class Outgoing(Protocol):
    """Memory that the receiver can read; see `workers.transport.shared_memory`."""

    def put(self, array: Array) -> int | None:
        """Copy `array` there; where it begins, or None where there is no room: then nothing is."""


class Incoming(Protocol):
    """Memory that the sender can write."""

    def view(self, start: int, size: int) -> memoryview:
        """Read-only bytes of it. Raises WireError where there are none such."""


class Layout(NamedTuple):
    """What stands before the data of each array, and before the place of the first if `placed`.

    No parts where the message takes more than a header.
    """

    parts: tuple[bytes, ...]
    placed: bool


Reader: TypeAlias = Callable[[bytes, Incoming | None], Message | None]
Unpack: TypeAlias = Callable[[bytes], tuple[Any, ...]]

_NAMES: Final = {dtype: name for name, dtype in DTYPES.items()}
_NIL: Final = b"\xc0"
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
_pack_number: Final = Struct(">Q").pack
_REFUSED: Final = (TypeError, KeyError, OverflowError, error)
"""What is raised where a message holds what cannot travel."""

_join: Final[Callable[[tuple[Any, ...]], bytes]] = b"".join
_array: Final = np.ndarray
_make: Final = tuple.__new__

_layouts: Final[dict[tuple[object, ...], Layout]] = {}
_readers: Final[dict[int, tuple[Reader, ...]]] = {}
"""By the length of the frame; the first few of a length stay."""


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
    parts: list[bytes] = []
    placed = arrays[0].nbytes > INLINE
    if sum(array.nbytes for array in arrays[placed:]) <= INLINE:
        parts = [described(array.dtype, array.shape, array.nbytes) for array in arrays]
        if placed:
            parts[0] = described(arrays[0].dtype, arrays[0].shape, None) + _UINT64
        parts[0] = msgpack.packb([None] * len(arrays))[:1] + parts[0]
    if len(_layouts) >= MOST:
        _layouts.clear()
    key = tuple(part for array in arrays for part in (array.dtype, array.shape))
    layout = _layouts[key] = Layout(tuple(parts), placed)
    return layout


def place(start: int | None) -> bytes:
    """What says where an array begins on the shelf; None: it is in a frame."""
    return _NIL if start is None else _UINT64 + _pack_number(start)


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


def write(message: Message, shelf: Outgoing | None = None) -> bytes | None:
    """The only frame of `message`; None if it is not for this module to make.

    A large first array goes to the `shelf`, if there is one.
    """
    try:
        if isinstance(message, Activation):
            batch, step, train, x, labels = message
            parts, placed = _layouts.get(
                (x.dtype, x.shape, labels.dtype, labels.shape)
            ) or _laid_out(x, labels)
            if not parts:
                return None
            begin = _begin_activation(batch, step, train)
            if not placed:
                return _join((begin, parts[0], x, parts[1], labels))
            start = shelf.put(x) if shelf is not None and labels.flags.c_contiguous else None
            if start is not None:
                return _join((begin, parts[0], _pack_number(start), parts[1], labels))
        elif isinstance(message, Gradient):
            batch, credit, gradient = message
            parts, placed = _layouts.get((gradient.dtype, gradient.shape)) or _laid_out(gradient)
            if not parts:
                return None
            begin = _begin_gradient(batch, credit)
            if not placed:
                return _join((begin, parts[0], gradient))
            start = shelf.put(gradient) if shelf is not None else None
            if start is not None:
                return _join((begin, parts[0], _pack_number(start)))
    except _REFUSED:  # what cannot travel, or an array that does not lie in memory as it travels
        return None
    return None


def read(frame: bytes, shelf: Incoming | None = None) -> Message | None:
    """The message in `frame`, as `decode` makes it; None if it is not for this module to say.

    Raises WireError where its array is not on the `shelf`.
    """
    for reader in _readers.get(len(frame), ()):
        message = reader(frame, shelf)
        if message is not None:
            return message
    return None


class _There(NamedTuple):
    """A shelf on which the array lies already."""

    start: int

    def put(self, array: Array) -> int:  # noqa: ARG002
        """Where it is."""
        return self.start


def learn(message: Message, frame: bytes, start: int | None = None) -> None:
    """Know from now on how `message` was laid out, if that was `frame` and this module's way.

    `start` is where its first array lies on a shelf.
    """
    shelf = None if start is None else _There(start)
    known = _readers.get(len(frame), ())
    if len(known) == ALIKE or write(message, shelf) != frame:
        return
    if len(_readers) >= MOST:
        _readers.clear()
    if isinstance(message, Activation):
        _readers[len(frame)] = *known, _activations(message.x, message.labels)
    elif isinstance(message, Gradient):
        _readers[len(frame)] = *known, _gradients(message.gradient)


def _parts(head: str, layout: Layout, *arrays: Array) -> Unpack:
    """What takes a frame apart: numbers, then what stands before the data and the data in turn.

    The data are copied out of the frame: within it arrays would lie at odd addresses, where numpy
    is slower and adds up in another order. Instead of the data of a placed array there is a number.
    """
    for i, (part, array) in enumerate(zip(layout.parts, arrays, strict=True)):
        data = "q" if layout.placed and i == 0 else f"{array.nbytes}s"
        head += f"{len(part)}s{data}"
    return Struct(head).unpack


def _activations(x: Array, labels: Array) -> Reader:
    """What reads activations with arrays like these."""
    (before, between), placed = _laid_out(x, labels)
    training, testing = _TRUE + before, _FALSE + before
    unpack = _parts(_ACTIVATION_HEAD[:-1], Layout((training, between), placed), x, labels)
    x_dtype, x_shape, dtype, shape = x.dtype, x.shape, labels.dtype, labels.shape
    size = x.nbytes

    def read(frame: bytes, shelf: Incoming | None) -> Activation | None:
        opening, batch, uint64, step, first, data, second, labels = unpack(frame)
        train = first == training
        if (
            opening == _ACTIVATION
            and uint64 == _UINT64
            and second == between
            and (train or first == testing)
            and batch >= 0
            and step >= 0
        ):
            if placed:
                if shelf is None:
                    return None
                data = shelf.view(data, size)
            x, labels = _array(x_shape, x_dtype, data), _array(shape, dtype, labels)
            return _make(Activation, (batch, step, train, x, labels))
        return None

    return read


def _gradients(gradient: Array) -> Reader:
    """What reads gradients with an array like this."""
    layout = _laid_out(gradient)
    (before,), placed = layout
    unpack = _parts(_GRADIENT_HEAD, layout, gradient)
    dtype, shape, size = gradient.dtype, gradient.shape, gradient.nbytes

    def read(frame: bytes, shelf: Incoming | None) -> Gradient | None:
        opening, batch, uint64, credit, first, data = unpack(frame)
        if (
            opening == _GRADIENT
            and uint64 == _UINT64
            and first == before
            and batch >= 0
            and credit >= 0
        ):
            if placed:
                if shelf is None:
                    return None
                data = shelf.view(data, size)
            return _make(Gradient, (batch, credit, _array(shape, dtype, data)))
        return None

    return read
