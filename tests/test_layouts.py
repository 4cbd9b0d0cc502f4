"""What is made and read without msgpack is what is made and read with it, to the byte."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import Activation, Array, Credit, Gradient, Message, WireError, decode, encode
from protocol.codec import layouts
from protocol.codec.layouts import ALIKE, INLINE, MOST, learn, read, write
from protocol.codec.schema import BY_CLASS, DTYPES, VERSION
from tests.examples import examples
from tests.test_wire import arrays, content

X = np.arange(12, dtype=np.float32).reshape(4, 3)
LABELS = np.arange(4)
NUMBERS = st.integers(0, 2**63 - 1)
KNOWN: list[Message] = [
    Activation(1, 1, True, X, LABELS),
    Activation(2, 1, False, X.astype(np.uint8), X),
    Gradient(3, 3, X),
    Gradient(4, 3, X[:0]),
]
known = pytest.mark.parametrize("message", KNOWN)


@pytest.fixture(autouse=True)
def _nothing_known() -> None:
    layouts._layouts.clear()
    layouts._readers.clear()


def made(message: Message) -> bytes:
    frame = write(message)
    assert frame is not None
    return frame


def learnt(message: Message) -> bytes:
    """The frame of `message`, from now on read without msgpack."""
    frame = made(message)
    assert read(frame) is None
    assert content(decode([frame])) == content(message)
    return frame


def batches() -> st.SearchStrategy[Activation | Gradient]:
    return st.builds(Activation, NUMBERS, NUMBERS, st.booleans(), arrays(), arrays()) | st.builds(
        Gradient, NUMBERS, NUMBERS, arrays()
    )


@examples(300)
@given(batches())
def test_what_is_written_is_what_encode_writes(message: Activation | Gradient) -> None:
    frame = write(message)
    if frame is None:  # somebody must turn it round, or write its rows one behind the other
        sent = BY_CLASS[type(message)].arrays(message)
        assert any(a.dtype.byteorder == ">" or not a.flags.c_contiguous for a in sent)
    else:
        assert [frame] == encode(message)


@examples(300)
@given(batches(), NUMBERS, NUMBERS)
def test_what_is_read_is_what_decode_says(
    message: Activation | Gradient, one: int, other: int
) -> None:
    frame = write(message)
    if frame is None:
        return
    decode([frame])
    later = made(type(message)(one, other, *message[2:]))
    for each in (frame, later):
        quick = read(each)
        if quick is not None:  # None where something else of this length came first
            assert content(quick) == content(decode([each]))


@known
def test_arrays_cannot_be_written_and_lie_as_numpy_wants_them(message: Message) -> None:
    quick = read(learnt(message))
    assert quick is not None
    assert content(quick) == content(message)
    for array in BY_CLASS[type(message)].arrays(quick):
        assert not array.flags.writeable
        assert array.ctypes.data % 8 == 0


@known
def test_a_frame_with_any_byte_changed_is_read_as_decode_reads_it_or_left(message: Message) -> None:
    frame = learnt(message)
    left = 0
    for place in range(len(frame)):
        for change in (1, 2, 0x80, 0xFF):
            other = bytearray(frame)
            other[place] ^= change
            quick = read(bytes(other))
            left += quick is None
            if quick is not None:
                assert content(quick) == content(decode([bytes(other)]))
    data = sum(array.nbytes for array in BY_CLASS[type(message)].arrays(message))
    assert left >= 4 * (len(frame) - data - 16) - 1  # all but data, numbers and whether it trains


@pytest.mark.parametrize("number", [2**63, 2**64 - 1])
@pytest.mark.parametrize("place", [0, 1])
@known
def test_a_number_that_is_none_is_left_and_refused(
    message: Message, number: int, place: int
) -> None:
    frame = bytearray(learnt(message))
    start = 5 + 9 * place
    frame[start : start + 8] = number.to_bytes(8)
    assert read(bytes(frame)) is None
    with pytest.raises(WireError, match=str(number)):
        decode([bytes(frame)])


def test_two_layouts_of_one_length_are_both_read_right() -> None:
    one, other = Gradient(1, 1, X), Gradient(1, 1, X.T.copy())
    frame, second = learnt(one), made(other)
    assert len(frame) == len(second)
    assert read(second) is None
    assert content(decode([second])) == content(other)
    assert content(read(second) or Credit(0)) == content(other)
    assert content(read(frame) or Credit(0)) == content(one)


def test_of_one_length_only_a_few_layouts_are_known() -> None:
    shapes = [(1, 12), (2, 6), (3, 4), (4, 3), (6, 2), (12, 1)]
    frames = [made(Gradient(1, 1, X.reshape(shape))) for shape in shapes]
    for frame in frames:
        decode([frame])
    assert [read(frame) is not None for frame in frames] == [True] * ALIKE + [False] * 2


def test_layouts_are_forgotten_before_they_are_many() -> None:
    lengths = count(1)
    for _ in range(3 * MOST):
        message = Gradient(1, 1, np.zeros(next(lengths), np.uint8))
        frame = learnt(message)
        assert content(read(frame) or Credit(0)) == content(message)
        assert len(layouts._readers) <= MOST
        assert len(layouts._layouts) <= MOST


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(INLINE + 1, np.uint8),
        X.T,
        X[:, ::2],
        X.astype(">f4"),
        np.zeros(2, "c8"),
        np.zeros((1,) * 9, np.uint8),
    ],
    ids=["large", "transposed", "stepped", "big-endian", "complex", "of nine dimensions"],
)
def test_what_does_not_lie_in_a_header_as_it_is_is_left(array: Array) -> None:
    for _ in range(2):
        assert write(Gradient(1, 1, array)) is None
        assert write(Activation(1, 1, True, array, LABELS)) is None
        assert write(Activation(1, 1, True, X, array)) is None


@pytest.mark.parametrize("more", [0, 1])
def test_two_arrays_lie_in_a_header_up_to_its_room(more: int) -> None:
    message = Activation(1, 1, True, np.zeros(INLINE - 32, np.uint8), np.zeros(32 + more, np.uint8))
    frame, frames = write(message), encode(message)
    assert len(frames) == 1 + more
    assert frame == (None if more else frames[0])


@pytest.mark.parametrize(
    "number",
    [-1, 2**63, 2**64, -(2**63) - 1, 10**5000, np.uint64(2**63), np.int8(-1), 1.0, "1", None],
    ids=lambda number: type(number).__name__,
)
@pytest.mark.parametrize("place", [0, 1])
@known
def test_a_number_that_cannot_travel_is_refused_to_its_sender(
    message: Message, number: int, place: int
) -> None:
    made(message)
    assert isinstance(message, Activation | Gradient)
    bad: dict[str, Any] = {message._fields[place]: number}
    other = message._replace(**bad)
    assert write(other) is None
    with pytest.raises(
        TypeError, match=f"{type(message).__name__} with such batch.* cannot travel"
    ):
        encode(other)


@pytest.mark.parametrize("train", [None, "x", 2, []])
def test_a_flag_that_cannot_travel_is_refused_to_its_sender(train: bool) -> None:
    other = Activation(1, 1, train, X, LABELS)
    assert write(other) is None
    with pytest.raises(TypeError, match="Activation with such batch, step or train cannot travel"):
        encode(other)


def test_other_messages_are_left() -> None:
    frame = msgpack.packb([VERSION, 3, [7], []])
    assert write(Credit(7)) is None
    assert decode([frame]) == Credit(7)
    assert read(frame) is None


def test_what_another_peer_lays_out_otherwise_is_not_learnt() -> None:
    frame = msgpack.packb([VERSION, 2, [7, 7], [["<f4", [4, 3], X.tobytes()]]])
    message = decode([frame])
    assert content(message) == content(Gradient(7, 7, X))
    learn(message, frame)
    assert read(frame) is None


def test_every_dtype_is_read() -> None:
    for dtype in DTYPES.values():
        message = Gradient(1, 1, np.ones(3, dtype))
        assert content(read(learnt(message)) or Credit(0)) == content(message)
        layouts._readers.clear()


class Shelf:
    """Both ends of one, in this process."""

    def __init__(self) -> None:
        self.memory = bytearray()

    def put(self, array: Array) -> int:
        start = len(self.memory)
        self.memory += array.tobytes()
        return start

    def view(self, start: int, size: int) -> memoryview:
        if not 0 <= start <= start + size <= len(self.memory):
            raise WireError("nothing is there")
        return memoryview(bytes(self.memory))[start : start + size]


LARGE = np.arange(INLINE, dtype=np.float32).reshape(-1, 16)
PLACED: list[Activation | Gradient] = [
    Activation(1, 2, True, LARGE, LABELS),
    Activation(2, 2, False, LARGE.astype(np.uint16), LABELS[:0]),
    Gradient(3, 1, LARGE),
]
placed = pytest.mark.parametrize("message", PLACED)


@placed
def test_what_goes_to_a_shelf_is_written_and_read_as_it_is_without(
    message: Activation | Gradient,
) -> None:
    ours, theirs = Shelf(), Shelf()
    for number in range(3):
        later = message._replace(batch=number)
        frame = write(later, ours)
        assert frame is not None
        assert [frame] == encode(later, theirs)
        assert ours.memory == theirs.memory
        quick = read(frame, ours)
        assert (quick is None) == (number == 0)
        assert content(decode([frame], ours)) == content(later)
        assert content(quick or later) == content(later)


@placed
def test_what_lies_on_no_shelf_is_left_and_refused(message: Activation | Gradient) -> None:
    shelf = Shelf()
    assert write(message) is None
    frame = write(message, shelf)
    assert frame is not None
    decode([frame], shelf)
    assert read(frame) is None
    for refused in (decode, lambda frames, shelf: read(frames[0], shelf)):
        with pytest.raises(WireError, match="nothing is there"):
            refused([frame], Shelf())
    with pytest.raises(WireError):
        decode([frame])


@placed
def test_a_frame_with_a_place_and_any_byte_changed_is_read_as_decode_reads_it(
    message: Activation | Gradient,
) -> None:
    shelf = Shelf()
    shelf.put(LARGE)
    frame = write(message, shelf)
    assert frame is not None
    decode([frame], shelf)
    assert read(frame, shelf) is not None

    def said(by: Callable[[bytes], Message | None], frame: bytes) -> object:
        try:
            message = by(frame)
        except WireError:
            return WireError
        return message and content(message)

    for place in range(len(frame)):
        for change in (1, 2, 0x80, 0xFF):
            other = bytearray(frame)
            other[place] ^= change
            quick = said(lambda frame: read(frame, shelf), bytes(other))
            if quick is not None:
                assert quick == said(lambda frame: decode([frame], shelf), bytes(other))


@pytest.mark.parametrize(
    "labels", [LABELS[::2], LABELS.astype(">i4"), np.zeros(INLINE + 1, np.uint8)]
)
def test_nothing_is_put_on_a_shelf_for_a_message_that_is_left(labels: Array) -> None:
    shelf = Shelf()
    for _ in range(2):
        assert write(Activation(1, 1, True, LARGE, labels), shelf) is None
    assert write(Activation(-1, 1, True, LARGE, LABELS), shelf) is None
    assert write(Gradient(1, 2**64, LARGE), shelf) is None
    assert not shelf.memory


def test_where_a_shelf_has_no_room_the_array_is_left_for_a_frame() -> None:
    class Full(Shelf):
        def put(self, array: Array) -> None:  # type: ignore[override]  # noqa: ARG002
            return None

    assert write(Gradient(1, 1, LARGE), Full()) is None
    assert len(encode(Gradient(1, 1, LARGE), Full())) == 2
