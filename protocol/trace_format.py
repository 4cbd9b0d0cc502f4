"""The trace file: what a core did with each message, in records of one size; docs/traces.md.

    [ opening | msgpack of `Origin` | totals | ... padding ... | record | record | ... ]

A ring has room for `capacity` records and holds the newest of `count`; its totals tell what the
first `settled` of them were. A file without a capacity grows and holds all of them. The file is
written through shared memory, so it is whole up to its last record however its writer ends.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args

import msgpack
import numpy as np
import numpy.typing as npt

from protocol.codec import quantization
from protocol.messages import Activation, Credit, DataMessage, Gradient

SUFFIX: Final = ".trace"
MAGIC: Final = b"dnitrace"
FORMAT: Final = 1
PAGE: Final = 4096

Event: TypeAlias = Literal["sent", "received", "used", "dropped", "resumed", "clock"]
Kind: TypeAlias = Literal["activation", "gradient", "credit", "mark", "test"]
Why: TypeAlias = Literal["", "overtaken", "late", "behind", "ignored"]

EVENTS: Final[tuple[str, ...]] = ("", *get_args(Event))
"""sent       on its way, or in its receiver's shared memory
received   out of the socket, in the queue of the core
used       taken up by the core; `end` is when all that it led to was done
dropped    by the core that received it or, on an edge out of the core, before it was sent
resumed    the core went on with a batch that it had taken up before: guess, update, send down
clock      `time` here was `batch` at the coordinator, give or take `bytes`, all in nanoseconds"""
KINDS: Final[tuple[str, ...]] = ("", *get_args(Kind))
"""Of messages; `test` is an activation that is not to be learnt from."""
WHY: Final[tuple[str, ...]] = get_args(Why)
"""Why a message was dropped.

overtaken  more gradients waited than `train.gradient_queue` allows; the newest win
late       the layer never had its batch, or has forgotten it
behind     its receiver was behind by a whole window, so it was not sent
ignored    its receiver has no use for it"""
SENT, RECEIVED, USED, DROPPED, RESUMED, CLOCK = range(1, 7)
ACTIVATION, GRADIENT, CREDIT, MARK, TEST = range(1, 6)
WORK: Final = (ACTIVATION, GRADIENT, TEST)
"""Kinds that are work to use; others are used in no time, and their `end` stays 0."""

RECORD: Final = np.dtype(
    [
        ("time", "<u8"),
        ("end", "<u8"),
        ("batch", "<u8"),
        ("version", "<u8"),
        ("bytes", "<u4"),
        ("staleness", "<u4"),
        ("queue", "<u2"),
        ("edge", "<u2"),
        ("event", "u1"),
        ("kind", "u1"),
        ("why", "u1"),
        ("cause", "u1"),
    ]
)
"""time, end    nanoseconds of the machine's monotonic clock; `end` is 0 while it goes on
batch        of an activation or gradient; the number in a credit; the step of a mark
version      updates that the core's weights had seen
bytes        of the arrays in a message that was sent, as they travel
staleness    batches taken up between a guess and the arrival of its truth
queue        messages that waited on that edge, this one included, when it was received
edge         a place in `Origin.edges`
cause        1 + the edge whose message of the same batch led to this being sent; 0 for none"""
PACKING: Final = struct.Struct("<QQQQIIHHBBBB")

_TIMES: Final = ("offset_ns", "bound_ns", "monotonic_ns", "unix_ns")
_LATEST: Final = 1 << 62
Records: TypeAlias = npt.NDArray[np.void]

_OPENING: Final = struct.Struct("<8sIIQQQQQI")
ORIGIN_AT: Final = _OPENING.size
COUNT_AT: Final = 32
"""Where the count of records stands; behind it `settled` and whether the end was orderly."""
PARTS: Final = 4 + len(WHY)
"""Totals of an edge and kind: sent, bytes sent, received, used, and dropped for each reason but
the first, "", whose place counts what was `resumed`."""


class Opening(NamedTuple):
    """The first bytes of a trace file. `start` is where records begin."""

    magic: bytes
    format: int
    record: int
    start: int
    capacity: int
    records: int
    settled: int
    closed: int
    origin: int

    @property
    def oldest(self) -> int:
        """The number of the oldest record that is there and whole.

        In a full ring that is still written the next record goes over the oldest, but only when
        the totals tell of that.
        """
        first = self.records - self.capacity
        if not self.capacity or first < 0:
            return 0
        return first + (not self.closed and self.settled > first)

    def pack(self) -> bytes:
        """The bytes."""
        return _OPENING.pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> Opening:
        """The opening in `data`. Raises ValueError where it is none."""
        if len(data) < _OPENING.size or data[:8] != MAGIC:
            raise ValueError("is no trace")
        opening = cls(*_OPENING.unpack_from(data))
        if opening.format != FORMAT or opening.record != RECORD.itemsize:
            raise ValueError(f"has trace format {opening.format}; this is format {FORMAT}")
        if opening.start < _OPENING.size + opening.origin or opening.start > 1 << 24:
            raise ValueError("has a broken opening")
        return opening


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose trace it is. At the beginning `offset_ns` were to be added to its clock for the
    coordinator's, give or take `bound_ns`; both are 0 where they share a clock.

    `monotonic_ns` and `unix_ns` are one moment on the machine's two clocks; `edges` are the names
    of the edges into and out of the core.
    """

    core: str
    pid: int
    host: str
    offset_ns: int
    bound_ns: int
    monotonic_ns: int
    unix_ns: int
    edges: tuple[str, ...]

    def pack(self) -> bytes:
        """The msgpack of all fields, by name."""
        return msgpack.packb({name: getattr(self, name) for name in self.__slots__})  # type: ignore[no-any-return]

    @classmethod
    def unpack(cls, data: bytes) -> Origin:
        """Whose trace it is. Raises ValueError where `data` does not tell."""
        try:
            origin = cls(**msgpack.unpackb(data, use_list=False))
        except Exception as error:  # foreign bytes
            raise ValueError("does not say whose it is") from error
        edges, times = origin.edges, [getattr(origin, name) for name in _TIMES]
        named = edges if type(edges) is tuple and edges else (None,)
        texts: list[Any] = [origin.core, origin.host, *named]
        numbers: list[Any] = [origin.pid, *times]
        if not all(type(t) is str for t in texts) or not all(type(n) is int for n in numbers):
            raise ValueError("does not say whose it is")
        if not 0 < origin.pid < 1 << 31 or max(map(abs, times)) >= _LATEST:
            raise ValueError("does not say whose it is")
        return origin


def opening(origin: Origin, capacity: int) -> tuple[bytes, int, int]:
    """What a new file begins with, where its totals lie, and where its records begin."""
    packed = origin.pack()
    totals = totals_at(len(packed))
    start = -(-(totals + totals_size(origin.edges)) // PAGE) * PAGE
    first = Opening(MAGIC, FORMAT, RECORD.itemsize, start, capacity, 0, 0, 0, len(packed))
    return first.pack() + packed, totals, start


def totals_at(origin: int) -> int:
    """Where the totals lie behind an origin of so many bytes."""
    return -(-(ORIGIN_AT + origin) // 8) * 8


def totals_shape(edges: Sequence[str]) -> tuple[int, int, int]:
    """Of the totals: edges, kinds, parts."""
    return len(edges), len(KINDS), PARTS


def totals_size(edges: Sequence[str]) -> int:
    """Bytes of the totals of so many edges."""
    a, b, c = totals_shape(edges)
    return 8 * a * b * c


def count(records: Records, edges: Sequence[str]) -> npt.NDArray[np.int64]:
    """The totals of `records`. They must be sound; see `sound`."""
    shape = totals_shape(edges)
    of_message = records[records["event"] != CLOCK]
    event = of_message["event"].astype(np.intp)
    part = np.array([0, 0, 2, 3, 0, 4, 0])[event]
    dropped = event == DROPPED
    part[dropped] = 4 + of_message["why"][dropped]
    pair = of_message["edge"].astype(np.intp) * shape[1] + of_message["kind"]
    size = shape[0] * shape[1] * shape[2]
    totals = np.bincount(pair * shape[2] + part, minlength=size).reshape(shape)
    sent = event == SENT
    weight = np.bincount(pair[sent], of_message["bytes"][sent], shape[0] * shape[1])
    totals[:, :, 1] = weight.reshape(shape[:2]).astype(np.int64)
    return totals


def sound(records: Records, edges: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which of the records can be ones: their numbers name something that there is."""
    event, clock = records["event"], records["event"] == CLOCK
    known = (event > 0) & (event < len(EVENTS)) & (records["why"] < len(WHY))
    placed = (records["edge"] < len(edges)) & (records["cause"] <= len(edges))
    kind = records["kind"]
    result: npt.NDArray[np.bool_] = known & (clock | placed & (kind > 0) & (kind < len(KINDS)))
    return result


def identity(message: DataMessage) -> tuple[int, int]:
    """The kind of `message`, and the number that tells it from others of its kind on an edge."""
    if isinstance(message, Activation):
        return ACTIVATION if message.train else TEST, message.batch
    if isinstance(message, Gradient):
        return GRADIENT, message.batch
    if isinstance(message, Credit):
        return CREDIT, message.credit
    return MARK, message.step


def weight(message: DataMessage, wire: str = quantization.FULL) -> int:
    """Bytes of the arrays in `message` on a way of the width `wire`."""
    if isinstance(message, Activation):
        array, rest = message.x, message.labels.nbytes
    elif isinstance(message, Gradient):
        array, rest = message.gradient, 0
    else:
        return 0
    if wire == quantization.FULL:
        return array.nbytes + rest
    return quantization.size(array.shape, array.dtype, wire) + rest
