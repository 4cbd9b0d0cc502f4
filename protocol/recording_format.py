"""The messages file: all that a layer was told, so that it can be told again.

    [ opening | msgpack of `Origin` | entry | entry | ... ]

A core is deterministic, so its weights follow from its first ones, which the pipeline gives, and
from what it received between its units of work and its beats. That is what the entries tell, in
their order; where the recording came to an orderly end the last of them is the state that the
layer was in then. docs/traces-payloads.md describes the format to the byte.

The reader raises RunError and nothing else, and only after the last whole entry; it makes nothing
of a size that the file does not hold, never unpickles and never evaluates.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, TypeAlias

import msgpack
import numpy as np

from protocol.codec.frames import MAX_ARRAYS, MAX_HEADER, WireError, decode, encode
from protocol.errors import RunError
from protocol.messages import Activation, Array, Credit, DataMessage, Gradient, Mark, State

SUFFIX: Final = ".messages"
MAGIC: Final = b"dnimesgs"
FORMAT: Final = 1
LARGEST: Final = 1 << 31
"""Bytes of a frame; what is longer came over no wire."""
MOST_THREADS: Final = 1 << 12

_OPENING: Final = struct.Struct("<8sII")
_HEAD: Final = struct.Struct("<cxHI")
_RECEIVED, _STRETCHED, _STATE = b"R", b"L", b"S"

Piece: TypeAlias = bytes | Array


class Call(Enum):
    """What a core is asked to do that no message brings: a unit of work, or its beat."""

    WORK = b"W"
    BEAT = b"B"


class Received(NamedTuple):
    """`message` came from the core `sender`."""

    sender: str
    message: DataMessage


class Stretched(NamedTuple):
    """From here on so many batches might be in flight to the core `neighbour`."""

    neighbour: str
    window: int


Entry: TypeAlias = Received | Call | Stretched | State


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose messages they are.

    `layer` is the number of the layer `core`, `senders` are the cores that speak to it. `first` is
    the first batch whose messages are there: where it is not 1 there are messages and nothing else.
    `facts` are those of the data, `threads` how many the matrix `library` used.
    """

    core: str
    layer: int
    senders: tuple[str, ...]
    first: int
    facts: dict[str, object]
    threads: int
    library: str

    def pack(self) -> bytes:
        """The msgpack of all fields, by name."""
        return msgpack.packb({name: getattr(self, name) for name in self.__slots__})  # type: ignore[no-any-return]

    @classmethod
    def unpack(cls, data: bytes) -> Origin:
        """Whose messages they are. Raises ValueError where `data` does not tell."""
        try:
            origin = cls(**msgpack.unpackb(data, use_list=False))
            texts: list[Any] = [origin.core, origin.library, *origin.senders, *origin.facts]
            numbers: list[Any] = [origin.layer, origin.first, origin.threads]
        except Exception as error:  # foreign bytes
            raise ValueError("does not say whose messages it holds") from error
        known = type(origin.facts) is dict and type(origin.senders) is tuple
        typed = all(type(t) is str for t in texts) and all(type(n) is int for n in numbers)
        if not (known and typed and origin.first >= 1 and 1 <= origin.threads <= MOST_THREADS):
            raise ValueError("does not say whose messages it holds")
        return origin


# -- to bytes


def opening(origin: Origin) -> bytes:
    """What a file begins with."""
    packed = origin.pack()
    return _OPENING.pack(MAGIC, FORMAT, len(packed)) + packed


def received(edge: int, message: DataMessage) -> list[Piece]:
    """The entry of a message from the sender with the place `edge` in `Origin.senders`."""
    return _entry(_RECEIVED, edge, encode(message))


def called(call: Call) -> list[Piece]:
    """The entry of a call."""
    return _entry(call.value, 0, [])


def stretched(edge: int, window: int) -> list[Piece]:
    """The entry of a window to the neighbour with the place `edge` in `Origin.senders`."""
    return [_HEAD.pack(_STRETCHED, edge, window)]


def ended(state: State) -> list[Piece]:
    """The entry that ends a recording."""
    return _entry(_STATE, 0, encode(state))


def _entry(tag: bytes, edge: int, frames: list[Piece]) -> list[Piece]:
    sizes = [frame.nbytes if isinstance(frame, np.ndarray) else len(frame) for frame in frames]
    return [_HEAD.pack(tag, edge, len(frames)) + struct.pack(f"<{len(sizes)}Q", *sizes), *frames]


# -- from bytes


def read_origin(path: Path) -> Origin:
    """Whose messages the file at `path` holds. Raises RunError."""
    with _reading(path) as source:
        return source.origin


def entries(path: Path) -> Iterator[Entry]:
    """What the file at `path` tells, in order.

    Raises RunError behind the last entry that can be read where there is more, or less than one.
    """
    with _reading(path) as source:
        while source.left:
            yield source.entry()


def payloads(path: Path) -> Iterator[Received]:
    """The messages in the file at `path`, in the order in which they came. Raises as `entries`."""
    return (entry for entry in entries(path) if isinstance(entry, Received))


@contextmanager
def _reading(path: Path) -> Iterator[_Source]:
    """The file at `path`, open; what is wrong with it is said with its name."""
    try:
        with path.open("rb") as file:
            yield _Source(file)
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, WireError) as error:
        raise RunError(f"{path}: {error}") from None


class _Source:
    """An open file, read from its beginning; nothing is asked of it that it does not hold."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.left = os.fstat(file.fileno()).st_size
        self._count = 0
        if self.left < _OPENING.size:
            raise ValueError("holds no recorded messages")
        magic, form, size = _OPENING.unpack(self._take(_OPENING.size))
        if magic != MAGIC:
            raise ValueError("holds no recorded messages")
        if form != FORMAT:
            raise ValueError(f"has messages format {form}; this is format {FORMAT}")
        if size > MAX_HEADER:
            raise ValueError(f"is damaged: an opening of {size} bytes")
        self.origin = Origin.unpack(self._take(size))

    def _take(self, size: int) -> bytes:
        data = self._file.read(size) if size <= self.left else b""
        if len(data) != size:
            place = f"entry {self._count}" if self._count else "its opening"
            raise ValueError(f"is cut off in {place}")
        self.left -= size
        return data

    def entry(self) -> Entry:
        """The next entry. Raises ValueError or WireError where there is none."""
        self._count += 1
        tag, edge, count = _HEAD.unpack(self._take(_HEAD.size))
        frames = self._frames(count) if tag != _STRETCHED else []
        try:
            if tag == _STRETCHED:
                return Stretched(self._neighbour(edge), count)
            return self._told(tag, edge, frames)
        except (ValueError, WireError) as error:
            raise ValueError(f"is damaged in entry {self._count}: {error}") from None

    def _frames(self, count: int) -> list[bytes]:
        if count > MAX_ARRAYS + 1:
            raise ValueError(f"is damaged in entry {self._count}: {count} frames")
        sizes = struct.unpack(f"<{count}Q", self._take(8 * count))
        if max(sizes, default=0) > LARGEST or max(sizes[:1], default=0) > MAX_HEADER:
            raise ValueError(f"is damaged in entry {self._count}: a frame of {max(sizes)} bytes")
        if sum(sizes) > self.left:
            raise ValueError(f"is cut off in entry {self._count}")
        return [self._take(size) for size in sizes]

    def _told(self, tag: bytes, edge: int, frames: list[bytes]) -> Entry:
        if not frames:
            return Call(tag)
        message = decode(frames)
        if tag == _STATE and isinstance(message, State):
            return message
        if tag != _RECEIVED or not isinstance(message, Activation | Gradient | Credit | Mark):
            raise ValueError(f"{tag!r} with the message {type(message).__name__}")
        return Received(self._neighbour(edge), message)

    def _neighbour(self, edge: int) -> str:
        if edge >= len(self.origin.senders):
            raise ValueError(f"a core with the number {edge}")
        return self.origin.senders[edge]


def portable(message: DataMessage) -> DataMessage:
    """`message` with its arrays lying as a reader of the file finds them.

    How an array lies decides in which order it is summed, and so the last bits.
    """
    match message:
        case Activation():
            return message._replace(x=_plain(message.x), labels=_plain(message.labels))
        case Gradient():
            return message._replace(gradient=_plain(message.gradient))
    return message


def _plain(array: Array) -> Array:
    return array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
