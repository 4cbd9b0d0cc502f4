"""The binary header of data messages: every path makes the same bytes, wrong ones are refused."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import Activation, Array, Credit, Gradient, Marker, Message, WireError, decode, encode
from protocol.codec.arrays import DTYPES
from protocol.codec.binary_header import MAGIC
from protocol.codec.limits import INLINE, MAX_HEADER
from tests.examples import examples
from tests.messages import arrays, content, frames_of

X = np.arange(12, dtype=np.float32).reshape(4, 3)
LABELS = np.arange(4)
LARGE = np.arange(INLINE, dtype=np.float32).reshape(-1, 16)
NUMBERS = st.integers(0, 2**63 - 1)
SMALL: list[Activation | Gradient] = [
    Activation(1, 1, True, X, LABELS),
    Activation(2, 1, False, X.astype(np.uint8), X),
    Gradient(3, 3, X),
    Gradient(4, 3, X[:0]),
]
BARE: list[Message] = [Credit(7), Marker("drain", 9)]
PLACED: list[Activation | Gradient] = [
    Activation(1, 2, True, LARGE, LABELS),
    Activation(2, 2, False, LARGE.astype(np.uint16), LABELS[:0]),
    Gradient(3, 1, LARGE),
]
F4, INT8, SHARED = 11, 14, 0x20
small = pytest.mark.parametrize("message", SMALL)
placed = pytest.mark.parametrize("message", PLACED)


class Memory:
    """Shared memory of a sender and a receiver in one process, without a limit."""

    def __init__(self) -> None:
        self.content = bytearray()

    def place(self, array: Array) -> int | None:
        start = len(self.content)
        self.content += array.tobytes()
        return start

    def view(self, start: int, size: int) -> memoryview:
        if not 0 <= start <= start + size <= len(self.content):
            raise WireError("not in the shared memory")
        return memoryview(bytes(self.content))[start : start + size]


def only_frame(message: Message) -> bytes:
    """The only frame of `message`."""
    (frame,) = frames_of(message, INLINE)
    return frame


def changed(frame: bytes, place: int, *values: int) -> bytes:
    """`frame` with other bytes from `place` on."""
    return frame[:place] + bytes(values) + frame[place + len(values) :]


# -- to frames


@examples(300)
@given(
    st.builds(Activation, NUMBERS, NUMBERS, st.booleans(), arrays(), arrays())
    | st.builds(Gradient, NUMBERS, NUMBERS, arrays())
)
def test_the_memory_order_of_an_array_does_not_change_the_frames(
    message: Activation | Gradient,
) -> None:
    """Contiguous arrays take the fast path, others the general one; every header is canonical."""
    copies: dict[str, Any] = {
        name: field.astype(field.dtype.newbyteorder("<"), order="C")
        for name, field in zip(message._fields, message, strict=True)
        if isinstance(field, np.ndarray)
    }
    assert frames_of(message, INLINE) == frames_of(message._replace(**copies), INLINE)


@small
def test_arrays_inside_are_aligned_and_read_only(message: Activation | Gradient) -> None:
    decoded = decode([only_frame(message)])
    assert content(decoded) == content(message)
    for array in arrays_of(decoded):
        assert not array.flags.writeable
        assert array.ctypes.data % 8 == 0


def arrays_of(message: Message) -> list[Array]:
    """The arrays of a data message."""
    assert isinstance(message, Activation | Gradient)
    return [field for field in message if isinstance(field, np.ndarray)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_travels(dtype: str) -> None:
    message = Gradient(1, 1, np.ones(3, dtype))
    assert content(decode([only_frame(message)])) == content(message)


@pytest.mark.parametrize("more", [0, 1])
def test_arrays_lie_inside_up_to_the_limit_for_both_together(more: int) -> None:
    message = Activation(1, 1, True, np.zeros(INLINE - 32, np.uint8), np.zeros(32 + more, np.uint8))
    assert len(encode(message)) == 1 + more


@pytest.mark.parametrize(
    "number",
    [-1, 2**63, 2**64, -(2**63) - 1, 10**5000, np.uint64(2**63), np.int8(-1), 1.0, "1", None],
    ids=lambda number: type(number).__name__,
)
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("message", SMALL + PLACED)
def test_a_number_out_of_range_is_refused_to_its_sender(
    message: Activation | Gradient, number: int, place: int
) -> None:
    memory = Memory()
    wrong: dict[str, Any] = {message._fields[place]: number}
    with pytest.raises(TypeError):
        encode(message._replace(**wrong), memory.place)
    assert not memory.content


@pytest.mark.parametrize(
    "message", [Credit(-1), Credit(1 << 63), Marker("end", -1), Marker(cast(Any, "stop"), 1)]
)
def test_a_credit_or_marker_out_of_range_is_refused_to_its_sender(message: Message) -> None:
    with pytest.raises(TypeError, match="cannot be sent"):
        encode(message)


@pytest.mark.parametrize("train", [None, "x", 2, []])
def test_a_flag_that_is_none_is_refused_to_its_sender(train: bool) -> None:
    with pytest.raises(TypeError):
        encode(Activation(1, 1, train, X, LABELS))


@pytest.mark.parametrize("array", [np.zeros(2, "c8"), np.zeros((1,) * 9, np.uint8)])
def test_an_array_that_has_no_format_is_refused_to_its_sender(array: Array) -> None:
    for message in (Gradient(1, 1, array), Activation(1, 1, True, X, array)):
        with pytest.raises(TypeError, match="an array of dtype"):
            encode(message)


# -- shared memory


@placed
def test_a_large_array_goes_through_shared_memory(message: Activation | Gradient) -> None:
    memory = Memory()
    for number in range(3):
        later = message._replace(batch=number)
        (frame,) = encode(later, memory.place)
        assert isinstance(frame, bytes)
        assert len(frame) < 128
        assert content(decode([frame], memory.view)) == content(later)


@placed
def test_an_array_outside_the_shared_memory_is_refused(message: Activation | Gradient) -> None:
    memory = Memory()
    (frame,) = encode(message, memory.place)
    assert isinstance(frame, bytes)
    with pytest.raises(WireError, match="not in the shared memory"):
        decode([frame], Memory().view)
    with pytest.raises(WireError, match="array 0 has the location 0x20"):
        decode([frame])


def test_labels_in_shared_memory_are_refused() -> None:
    frame = only_frame(Activation(1, 1, True, X, LABELS))
    with pytest.raises(WireError, match="array 1 has the location 0x20"):
        decode([changed(frame, 6, frame[6] | SHARED)], Memory().view)


@pytest.mark.parametrize(
    "labels", [LABELS[::2], LABELS.astype(">i4"), np.zeros(INLINE + 1, np.uint8)]
)
def test_a_message_with_other_labels_goes_through_shared_memory_too(labels: Array) -> None:
    memory = Memory()
    message = Activation(1, 1, True, LARGE, labels)
    frames = [bytes(frame) for frame in encode(message, memory.place)]
    assert len(memory.content) == LARGE.nbytes
    assert content(decode(frames, memory.view)) == content(message)


@placed
def test_without_room_in_shared_memory_the_array_is_a_frame(
    message: Activation | Gradient,
) -> None:
    header, frame = encode(message, lambda _: None)
    assert frame is arrays_of(message)[0]
    assert content(decode([bytes(header), bytes(frame)])) == content(message)


# -- from frames


@pytest.mark.parametrize("message", [*SMALL, *BARE])
def test_a_frame_with_any_byte_changed_is_refused_or_another_message(message: Message) -> None:
    frame = only_frame(message)
    for place in range(len(frame)):
        for change in (1, 2, 0x80, 0xFF):
            other = changed(frame, place, frame[place] ^ change)
            try:
                decoded = decode([other])
            except WireError:
                continue
            assert content(decode(frames_of(decoded, INLINE))) == content(decoded)


@pytest.mark.parametrize("message", [*SMALL, *BARE])
def test_a_frame_that_is_cut_off_or_too_long_is_refused(message: Message) -> None:
    frame = only_frame(message)
    for length in range(len(frame)):
        with pytest.raises(WireError):
            decode([frame[:length]])
    for more in (b"\0", bytes(16)):
        with pytest.raises(WireError):
            decode([frame + more])
    with pytest.raises(WireError):
        decode([frame, b""])


GRADIENT = only_frame(Gradient(1, 1, X))
ACTIVATION = only_frame(Activation(1, 1, True, X, LABELS))
CREDIT = only_frame(Credit(7))
MARKER = only_frame(Marker("end", 7))
WRONG = {
    "version": (changed(GRADIENT, 1, 1), "protocol version 1"),
    "kind": (changed(GRADIENT, 2, 5), "unknown kind 5"),
    "train": (changed(ACTIVATION, 3, 2), "unknown detail 2"),
    "detail of a gradient": (changed(GRADIENT, 3, 1), "unknown detail 1"),
    "detail of a credit": (changed(CREDIT, 3, 1), "unknown detail 1"),
    "marker": (changed(MARKER, 3, 4), "unknown detail 4"),
    "no format": (changed(GRADIENT, 4, 0), "unknown format 0"),
    "unknown format": (changed(GRADIENT, 4, 15), "unknown format 15"),
    "unknown location": (changed(GRADIENT, 4, F4 | 0x30), "location 0x30"),
    "nine dimensions": (changed(GRADIENT, 5, 9), "arrays of 9 and 0 dimensions"),
    "8 bits without rows": (changed(GRADIENT, 4, INT8, 0), "without rows"),
    "second array of a gradient": (changed(GRADIENT, 6, F4), "second array"),
    "negative batch": (changed(GRADIENT, 15, 0x80), "negative number"),
    "negative step": (changed(ACTIVATION, 23, 0x80), "Activation.step -"),
    "negative credit": (changed(CREDIT, 15, 0x80), "negative or a second number"),
    "second number of a credit": (changed(CREDIT, 16, 1), "negative or a second number"),
    "array of a marker": (changed(MARKER, 4, F4), "negative or a second number"),
    "offset without shared memory": (changed(GRADIENT, 24, 1), "more came"),
    "larger shape": (changed(GRADIENT, 32, 5), "buffer is too small"),
    "smaller shape": (changed(GRADIENT, 32, 3), "a header of 96 bytes, not 84"),
    "8 bits without scales": (changed(GRADIENT, 4, INT8), "more came"),
}


@pytest.mark.parametrize(("frame", "error"), WRONG.values(), ids=WRONG)
def test_a_header_with_a_wrong_value_is_refused_for_it(frame: bytes, error: str) -> None:
    with pytest.raises(WireError, match=error):
        decode([frame])


def test_padding_is_ignored() -> None:
    padding = slice(40, 48)
    assert GRADIENT[padding] == bytes(8)
    other = GRADIENT[: padding.start] + b"x" * 8 + GRADIENT[padding.stop :]
    assert content(decode([other])) == content(Gradient(1, 1, X))


def test_a_header_in_memory_that_can_be_written_is_copied() -> None:
    memory = bytearray(GRADIENT)
    decoded = decode([memoryview(memory)])
    memory[:] = bytes(len(memory))
    assert content(decoded) == content(Gradient(1, 1, X))


def test_a_header_that_is_too_long_is_refused() -> None:
    with pytest.raises(WireError, match="a header of"):
        decode([bytes([MAGIC]) + bytes(MAX_HEADER)])
