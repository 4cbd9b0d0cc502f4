"""The trace file: what a stage did with each message, in records of one size.

    [ header | msgpack of `TraceMetadata` | totals | ... padding ... | record | record | ... ]

A ring has room for `capacity` records and holds the newest of `records`. Its totals cover the first
`counted` records. A file with a capacity of 0 grows and holds all records. The writer maps the file
into shared memory, so that the file is complete up to its last record even if the writer is killed.
docs/traces.md describes the format to the byte.
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
FORMAT: Final = 2
PAGE: Final = 4096

TraceEvent: TypeAlias = Literal["sent", "received", "used", "dropped", "resumed", "clock"]
MessageKind: TypeAlias = Literal["activation", "gradient", "credit", "marker", "test"]
DropReason: TypeAlias = Literal["", "overtaken", "late", "behind", "ignored"]

EVENTS: Final[tuple[str, ...]] = ("", *get_args(TraceEvent))
"""sent       handed to the socket, or written to the receiver's shared memory
received   taken from the socket and put into the stage's queue
used       taken from the queue and processed; `end` is when everything it led to was done
dropped    discarded by the receiving stage, or by the sending stage before it was sent
resumed    the stage continued a batch it had started before: predict, update, send down
clock      a clock sample: local time `time` was `batch` at the coordinator, with an error of
           at most `bytes`, all in nanoseconds"""
KINDS: Final[tuple[str, ...]] = ("", *get_args(MessageKind))
"""Kinds of messages. `test` is an activation of a test batch, which no stage learns from."""
DROP_REASONS: Final[tuple[str, ...]] = get_args(DropReason)
"""Why a message was dropped.

overtaken  more gradients waited than `train.gradient_queue` allows; the newest are kept
late       the layer never had the batch, or has forgotten it
behind     the receiver was a whole window behind, so the message was not sent
ignored    the receiver has no use for the message"""
SENT, RECEIVED, USED, DROPPED, RESUMED, CLOCK = range(1, 7)
ACTIVATION, GRADIENT, CREDIT, MARKER, TEST = range(1, 6)
WORK: Final = (ACTIVATION, GRADIENT, TEST)
"""Kinds that take time to use. The `end` of all other kinds stays 0."""

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
        ("reason", "u1"),
        ("cause", "u1"),
    ]
)
"""time, end    nanoseconds of the host's monotonic clock; `end` is 0 until the work is done
batch        of an activation or gradient; the number in a credit; the step of a marker
version      updates of the stage's weights so far
bytes        of the arrays in a message that was sent, as encoded on the edge
staleness    batches processed between the prediction of a gradient and its true gradient
queue        messages that waited on the edge, this one included, when the message was received
edge         index in `TraceMetadata.edges`
reason       index in `DROP_REASONS`
cause        1 + the index of the edge whose message of the same batch led to this one; 0: none"""
PACKING: Final = struct.Struct("<QQQQIIHHBBBB")

_BAD_METADATA: Final = "has broken metadata"
_TIMES: Final = ("offset_ns", "bound_ns", "monotonic_ns", "unix_ns")
_LATEST_NS: Final = 1 << 62
Records: TypeAlias = npt.NDArray[np.void]

_HEADER: Final = struct.Struct("<8sIIQQQQQI")
METADATA_AT: Final = _HEADER.size
COUNT_AT: Final = 32
"""Offset of the number of records; `counted` and `closed` follow it."""
COUNTERS: Final = 4 + len(DROP_REASONS)
"""Totals of an edge and kind: sent, bytes sent, received, used, and one per drop reason.

The place of the first drop reason, "", holds the number of `resumed` records."""


class TraceHeader(NamedTuple):
    """The first bytes of a trace file.

    `record` is the size of a record, `start` the offset of the first one, and `metadata` the size
    of the metadata, all in bytes. `records` counts all records ever written, `counted` those that
    the totals include. `closed` is 1 once the writer has closed the file.
    """

    magic: bytes
    format: int
    record: int
    start: int
    capacity: int
    records: int
    counted: int
    closed: int
    metadata: int

    @property
    def oldest(self) -> int:
        """The number of the oldest complete record in the file.

        In a full ring that is still open, the next record overwrites the oldest one, but only after
        the totals include it.
        """
        first = self.records - self.capacity
        if not self.capacity or first < 0:
            return 0
        return first + (not self.closed and self.counted > first)

    def pack(self) -> bytes:
        """The header as bytes."""
        return _HEADER.pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> TraceHeader:
        """The header at the start of `data`. Raises ValueError if there is none."""
        if len(data) < _HEADER.size or data[:8] != MAGIC:
            raise ValueError("is no trace")
        header = cls(*_HEADER.unpack_from(data))
        if header.format != FORMAT or header.record != RECORD.itemsize:
            raise ValueError(f"has trace format {header.format}; this is format {FORMAT}")
        if header.start < _HEADER.size + header.metadata or header.start > 1 << 24:
            raise ValueError("has a broken header")
        return header


@dataclass(frozen=True, slots=True)
class TraceMetadata:
    """The stage and process that a trace belongs to.

    `offset_ns` is the coordinator's clock minus the stage's clock when the trace began, with an
    error of at most `bound_ns`; both are 0 if they share a clock. `monotonic_ns` and `unix_ns` are
    the same moment on the host's two clocks. `edges` are the names of the stage's edges.
    """

    stage: str
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
    def unpack(cls, data: bytes) -> TraceMetadata:
        """The metadata in `data`. Raises ValueError if `data` holds anything else."""
        try:
            found = cls(**msgpack.unpackb(data, use_list=False))
        except Exception as error:  # untrusted bytes
            raise ValueError(_BAD_METADATA) from error
        edges, times = found.edges, [getattr(found, name) for name in _TIMES]
        named = edges if type(edges) is tuple and edges else (None,)
        texts: list[Any] = [found.stage, found.host, *named]
        numbers: list[Any] = [found.pid, *times]
        if not all(type(t) is str for t in texts) or not all(type(n) is int for n in numbers):
            raise ValueError(_BAD_METADATA)
        if not 0 < found.pid < 1 << 31 or max(map(abs, times)) >= _LATEST_NS:
            raise ValueError(_BAD_METADATA)
        return found


def new_file(metadata: TraceMetadata, capacity: int) -> tuple[bytes, int, int]:
    """The first bytes of a new file, the offset of its totals, and that of its records."""
    packed = metadata.pack()
    totals = totals_at(len(packed))
    start = -(-(totals + totals_size(metadata.edges)) // PAGE) * PAGE
    header = TraceHeader(MAGIC, FORMAT, RECORD.itemsize, start, capacity, 0, 0, 0, len(packed))
    return header.pack() + packed, totals, start


def totals_at(metadata: int) -> int:
    """The offset of the totals in a file whose metadata has `metadata` bytes."""
    return -(-(METADATA_AT + metadata) // 8) * 8


def totals_shape(edges: Sequence[str]) -> tuple[int, int, int]:
    """The shape of the totals: edges, kinds, counters."""
    return len(edges), len(KINDS), COUNTERS


def totals_size(edges: Sequence[str]) -> int:
    """The size of the totals in bytes."""
    a, b, c = totals_shape(edges)
    return 8 * a * b * c


def totals_of(records: Records, edges: Sequence[str]) -> npt.NDArray[np.int64]:
    """The totals of `records`, all of which must be `valid`."""
    shape = totals_shape(edges)
    of_message = records[records["event"] != CLOCK]
    event = of_message["event"].astype(np.intp)
    counter = np.array([0, 0, 2, 3, 0, 4, 0])[event]
    dropped = event == DROPPED
    counter[dropped] = 4 + of_message["reason"][dropped]
    pair = of_message["edge"].astype(np.intp) * shape[1] + of_message["kind"]
    size = shape[0] * shape[1] * shape[2]
    totals = np.bincount(pair * shape[2] + counter, minlength=size).reshape(shape)
    sent = event == SENT
    sent_bytes = np.bincount(pair[sent], of_message["bytes"][sent], shape[0] * shape[1])
    totals[:, :, 1] = sent_bytes.reshape(shape[:2]).astype(np.int64)
    return totals


def valid(records: Records, edges: Sequence[str]) -> npt.NDArray[np.bool_]:
    """A mask of the records whose event, kind, reason, edge and cause all exist."""
    event, clock = records["event"], records["event"] == CLOCK
    known = (event > 0) & (event < len(EVENTS)) & (records["reason"] < len(DROP_REASONS))
    placed = (records["edge"] < len(edges)) & (records["cause"] <= len(edges))
    kind = records["kind"]
    result: npt.NDArray[np.bool_] = known & (clock | placed & (kind > 0) & (kind < len(KINDS)))
    return result


def kind_and_number(message: DataMessage) -> tuple[int, int]:
    """The kind of `message`, and its number: its batch, credit or step."""
    if isinstance(message, Activation):
        return ACTIVATION if message.train else TEST, message.batch
    if isinstance(message, Gradient):
        return GRADIENT, message.batch
    if isinstance(message, Credit):
        return CREDIT, message.credit
    return MARKER, message.step


def array_bytes(message: DataMessage, edge_dtype: str = quantization.FLOAT32) -> int:
    """The size of the arrays in `message`, as encoded on an edge of `edge_dtype`."""
    if isinstance(message, Activation):
        array, rest = message.x, message.labels.nbytes
    elif isinstance(message, Gradient):
        array, rest = message.gradient, 0
    else:
        return 0
    if edge_dtype == quantization.FLOAT32:
        return array.nbytes + rest
    return quantization.encoded_size(array.shape, array.dtype, edge_dtype) + rest
