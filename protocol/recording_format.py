"""The recording of a layer: everything that a replay of the layer needs, in order.

    [ header | msgpack of `RecordingMetadata` | entry | entry | ... ]

A stage is deterministic. Its weights follow from its first weights, which the pipeline gives, and
from the messages that it received between its operations. The entries hold both, in order. If the
recording was closed in order, its last entry is the final state of the layer.
docs/traces-messages.md describes the format to the byte.

The reader raises RunError and nothing else, after the last whole entry. It allocates nothing that
is larger than the rest of the file, and it unpickles and evaluates nothing.
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

from protocol.codec.arrays import WireError
from protocol.codec.frames import decode, encode
from protocol.codec.limits import MAX_ARRAYS, MAX_HEADER
from protocol.errors import RunError
from protocol.messages import Activation, Array, Credit, DataMessage, Gradient, Marker, State

SUFFIX: Final = ".messages"
MAGIC: Final = b"dnimesgs"
FORMAT: Final = 2
MAX_FRAME: Final = 1 << 31
"""The largest size of a frame in bytes; no transport carries more."""
MAX_THREADS: Final = 1 << 12

_HEADER: Final = struct.Struct("<8sII")
_ENTRY: Final = struct.Struct("<cxHI")
_RECEIVED, _WINDOW, _STATE = b"R", b"L", b"S"
_BAD_METADATA: Final = "has broken metadata"

Piece: TypeAlias = bytes | Array


class Operation(Enum):
    """What a stage is made to do apart from receiving a message."""

    WORK = b"W"
    RESEND_CREDITS = b"B"


class ReceivedMessage(NamedTuple):
    """`message` arrived from the stage `sender`."""

    sender: str
    message: DataMessage


class WindowChange(NamedTuple):
    """From here on up to `window` batches may be in flight to the stage `neighbour`."""

    neighbour: str
    window: int


RecordingEntry: TypeAlias = ReceivedMessage | Operation | WindowChange | State


@dataclass(frozen=True, slots=True)
class RecordingMetadata:
    """The layer that a recording belongs to, and the conditions it ran under.

    `stage` is the name of layer number `layer`; `senders` are its neighbours. `first` is the first
    batch whose messages are recorded; if it is not 1, the recording holds messages only. `dataset`
    holds the fields of the data set's description. `threads` is the number of threads that the
    matrix `library` used.
    """

    stage: str
    layer: int
    senders: tuple[str, ...]
    first: int
    dataset: dict[str, object]
    threads: int
    library: str

    def pack(self) -> bytes:
        """The msgpack of all fields, by name."""
        return msgpack.packb({name: getattr(self, name) for name in self.__slots__})  # type: ignore[no-any-return]

    @classmethod
    def unpack(cls, data: bytes) -> RecordingMetadata:
        """The metadata in `data`. Raises ValueError if `data` holds anything else."""
        try:
            found = cls(**msgpack.unpackb(data, use_list=False))
            texts: list[Any] = [found.stage, found.library, *found.senders, *found.dataset]
            numbers: list[Any] = [found.layer, found.first, found.threads]
        except Exception as error:  # untrusted bytes
            raise ValueError(_BAD_METADATA) from error
        known = type(found.dataset) is dict and type(found.senders) is tuple
        typed = all(type(t) is str for t in texts) and all(type(n) is int for n in numbers)
        if not (known and typed and found.first >= 1 and 1 <= found.threads <= MAX_THREADS):
            raise ValueError(_BAD_METADATA)
        return found


# -- writing


def encode_header(metadata: RecordingMetadata) -> bytes:
    """The first bytes of a file."""
    packed = metadata.pack()
    return _HEADER.pack(MAGIC, FORMAT, len(packed)) + packed


def encode_message(sender: int, message: DataMessage) -> list[Piece]:
    """The entry of a message; `sender` is an index in `RecordingMetadata.senders`."""
    return _encode_entry(_RECEIVED, sender, encode(message))


def encode_operation(operation: Operation) -> list[Piece]:
    """The entry of an operation."""
    return _encode_entry(operation.value, 0, [])


def encode_window(neighbour: int, window: int) -> list[Piece]:
    """The entry of a window; `neighbour` is an index in `RecordingMetadata.senders`."""
    return [_ENTRY.pack(_WINDOW, neighbour, window)]


def encode_state(state: State) -> list[Piece]:
    """The entry that closes a recording."""
    return _encode_entry(_STATE, 0, encode(state))


def _encode_entry(tag: bytes, place: int, frames: list[Piece]) -> list[Piece]:
    sizes = [frame.nbytes if isinstance(frame, np.ndarray) else len(frame) for frame in frames]
    return [_ENTRY.pack(tag, place, len(frames)) + struct.pack(f"<{len(sizes)}Q", *sizes), *frames]


# -- reading


def read_metadata(path: Path) -> RecordingMetadata:
    """The metadata of the file at `path`. Raises RunError."""
    with _open(path) as reader:
        return reader.metadata


def read_entries(path: Path) -> Iterator[RecordingEntry]:
    """The entries of the file at `path`, in order.

    If the rest of the file cannot be read, raises RunError after the last readable entry.
    """
    with _open(path) as reader:
        while reader.left:
            yield reader.entry()


def read_messages(path: Path) -> Iterator[ReceivedMessage]:
    """The messages in the file at `path`, in the order of arrival. Raises as `read_entries`."""
    return (entry for entry in read_entries(path) if isinstance(entry, ReceivedMessage))


@contextmanager
def _open(path: Path) -> Iterator[_Reader]:
    """A reader of the file at `path`, whose errors become RunErrors that name the file."""
    try:
        with path.open("rb") as file:
            yield _Reader(file)
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, WireError) as error:
        raise RunError(f"{path}: {error}") from None


class _Reader:
    """Reads an open file from its start, and never more than the file holds."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.left = os.fstat(file.fileno()).st_size
        self._count = 0
        if self.left < _HEADER.size:
            raise ValueError("holds no recorded messages")
        magic, version, size = _HEADER.unpack(self._read(_HEADER.size))
        if magic != MAGIC:
            raise ValueError("holds no recorded messages")
        if version != FORMAT:
            raise ValueError(f"has messages format {version}; this is format {FORMAT}")
        if size > MAX_HEADER:
            raise ValueError(f"is damaged: metadata of {size} bytes")
        self.metadata = RecordingMetadata.unpack(self._read(size))

    def _read(self, size: int) -> bytes:
        data = self._file.read(size) if size <= self.left else b""
        if len(data) != size:
            place = f"entry {self._count}" if self._count else "its header"
            raise ValueError(f"is cut off in {place}")
        self.left -= size
        return data

    def entry(self) -> RecordingEntry:
        """The next entry. Raises ValueError or WireError if it cannot be read."""
        self._count += 1
        tag, place, count = _ENTRY.unpack(self._read(_ENTRY.size))
        frames = self._frames(count) if tag != _WINDOW else []
        try:
            if tag == _WINDOW:
                return WindowChange(self._neighbour(place), count)
            return self._decode(tag, place, frames)
        except (ValueError, WireError) as error:
            raise ValueError(f"is damaged in entry {self._count}: {error}") from None

    def _frames(self, count: int) -> list[bytes]:
        if count > MAX_ARRAYS + 1:
            raise ValueError(f"is damaged in entry {self._count}: {count} frames")
        sizes = struct.unpack(f"<{count}Q", self._read(8 * count))
        if max(sizes, default=0) > MAX_FRAME or max(sizes[:1], default=0) > MAX_HEADER:
            raise ValueError(f"is damaged in entry {self._count}: a frame of {max(sizes)} bytes")
        if sum(sizes) > self.left:
            raise ValueError(f"is cut off in entry {self._count}")
        return [self._read(size) for size in sizes]

    def _decode(self, tag: bytes, place: int, frames: list[bytes]) -> RecordingEntry:
        if not frames:
            return Operation(tag)
        message = decode(frames)
        if tag == _STATE and isinstance(message, State):
            return message
        if tag != _RECEIVED or not isinstance(message, Activation | Gradient | Credit | Marker):
            raise ValueError(f"{tag!r} with the message {type(message).__name__}")
        return ReceivedMessage(self._neighbour(place), message)

    def _neighbour(self, place: int) -> str:
        if place >= len(self.metadata.senders):
            raise ValueError(f"no sender has the number {place}")
        return self.metadata.senders[place]


def in_file_order(message: DataMessage) -> DataMessage:
    """`message` with arrays in C order and little-endian, as a reader of the file finds them.

    The memory order of an array decides the order of a sum over it, and so the last bits.
    """
    match message:
        case Activation():
            return message._replace(x=_reordered(message.x), labels=_reordered(message.labels))
        case Gradient():
            return message._replace(gradient=_reordered(message.gradient))
    return message


def _reordered(array: Array) -> Array:
    return array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
