"""What is sent arrives, and bytes of any other origin are refused with WireError, at no cost."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import msgpack
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from protocol import VERSION, Activation, Go, Gradient, Message, State, WireError, decode, encode
from protocol.codec.arrays import DTYPES
from protocol.codec.binary_header import MAGIC
from protocol.codec.limits import INLINE, MAX_HEADER
from protocol.codec.schema import KINDS
from tests.examples import examples
from tests.messages import ANY_MESSAGE, JSON, content, frames_of, messages, named_fields


def refused_or_valid(frames: list[bytes]) -> None:
    """Assert what `decode` promises: WireError, or a message that could have been sent."""
    try:
        message = decode(frames)
    except WireError:
        return
    assert content(decode(frames_of(message, INLINE))) == content(message)
    tables = [value for value in named_fields(message).values() if isinstance(value, dict)]
    assert all(isinstance(key, str) for table in tables for key in table)


def framed(kind: object, values: object, descriptions: object = (), *frames: bytes) -> list[bytes]:
    return [msgpack.packb([VERSION, kind, values, descriptions]), *frames]


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.__name__)
def test_a_message_arrives_as_it_was_sent(kind: type[Message]) -> None:
    @examples(50)
    @given(messages(kind))
    def arrives(message: Message) -> None:
        for inline in (0, INLINE):
            assert content(decode(frames_of(message, inline))) == content(message)

    arrives()


def test_every_kind_has_one_number_and_every_message_a_kind() -> None:
    assert sorted(map(repr, KINDS.values())) == sorted(map(repr, get_args(Message)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(64, 32), (8, 64, 32), (2048, *[1] * 6)])
def test_an_array_frame_is_the_memory_of_the_array(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.ones((5, *shape), dtype)
    _, frame = encode(Gradient(1, 1, array))
    assert isinstance(frame, np.ndarray)
    assert np.shares_memory(frame, array)


@pytest.mark.parametrize("shape", [(), (2, 3)])
def test_a_decoded_array_is_a_read_only_view_of_its_frame(shape: tuple[int, ...]) -> None:
    header, array = frames_of(Gradient(1, 1, np.ones(shape, np.float32)))
    frame = bytearray(array)
    message = decode([header, memoryview(frame)])
    assert isinstance(message, Gradient)
    assert not message.gradient.flags.writeable
    frame[:] = bytes(len(frame))
    assert not message.gradient.any()


@pytest.mark.parametrize("dtype", ["O", "c8", "M8[s]", "U3", "V4", "g"])
def test_an_array_of_another_dtype_is_not_frames_of(dtype: str) -> None:
    with pytest.raises(TypeError, match="cannot be sent"):
        encode(Gradient(1, 1, np.zeros(2, dtype)))


def test_too_few_and_too_many_frames_are_refused() -> None:
    row = np.zeros(3, np.float32)
    one, two = frames_of(Gradient(1, 1, row)), frames_of(Activation(1, 1, True, row, row))
    state = frames_of(State("a", 1, {}, ("row",), (row,)))
    for frames in ([], one[:1], [*one, b"x"], two[:2], [*two, b"x"], state[:1], [*state, b"x"]):
        with pytest.raises(WireError):
            decode(frames)
    with pytest.raises(WireError, match="more frames"):
        decode([*frames_of(Go()), b""])


def binary(kind: int, *codes: int, dimensions: list[int], rest: bytes = b"") -> bytes:
    """A binary header as docs/protocol.md has it, with the numbers 1 and 1."""
    head = bytes([0xC1, VERSION, kind, 0, *codes]) + (1).to_bytes(8, "little") * 2 + bytes(8)
    packed = b"".join(n.to_bytes(4, "little") for n in dimensions)
    return head + packed + bytes(-len(packed) % 16) + rest


F4, IN_FRAME = 11, 0x10
MOST = (1 << 32) - 1
CLAIMS = {
    "array inside": [binary(2, F4, 2, 0, 0, dimensions=[1 << 20, 1 << 20])],
    "array in a frame": [binary(2, F4 | IN_FRAME, 1, 0, 0, dimensions=[MOST]), b"x" * 12],
    "array that overflows": [binary(2, F4 | IN_FRAME, 8, 0, 0, dimensions=[MOST] * 8), b""],
    "quantized array": [binary(2, 14, 2, 0, 0, dimensions=[1 << 20, 1 << 20])],
    "control array": framed(37, ["a", "b", 0, True], [["<f8", [2**40], None]], b"x" * 12),
    "empty array": framed(37, ["a", "b", 0, True], [["<f8", [0, 2**62, 2**62], None]], b""),
    "list": [b"\xdd\xff\xff\xff\xff"],
    "map": [b"\xdf\xff\xff\xff\xff"],
    "maps in maps": [b"\xdf\x00\x00\x03\xe8\xa1x" * 1000],
    "string": [b"\xdb\xff\xff\xff\xff"],
    "extension": [b"\xc9\xff\xff\xff\xff\x01"],
    "deep": [b"\x91" * 100_000],
}


def cost(frames: list[bytes]) -> tuple[int, int]:
    """Bytes still held after refusing `frames`, and the most held meanwhile."""
    tracemalloc.start()
    try:
        with pytest.raises(WireError):
            decode(frames)
        return tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("frames", CLAIMS.values(), ids=CLAIMS)
def test_a_header_that_claims_much_costs_little(frames: list[bytes]) -> None:
    assert max(cost(frames)) < 1 << 20


@pytest.mark.parametrize("entries", [4000, 10_000, 1_000_000])
def test_claims_within_claims_cost_a_bounded_amount_and_leave_nothing(entries: int) -> None:
    """A list of at most MAX_ARRAYS entries, a thousand deep, is 32 MB."""
    header = (b"\xdd" + entries.to_bytes(4)) * 1000
    held, peak = cost([header + b"\x01" * (MAX_HEADER - len(header))])
    assert held < 1 << 20
    assert peak < 40 << 20


@dataclass
class Bomb:
    path: Path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


def test_nothing_is_ever_unpickled(tmp_path: Path) -> None:
    crater = tmp_path / "crater"
    bomb = pickle.dumps(Bomb(crater))
    refused_or_valid(framed(17, [{"a": msgpack.ExtType(1, bomb)}, {}, {}]))
    refused_or_valid([bomb, bomb])
    for dtype in ("|O", "|O8", "|u1"):
        descriptions = [[dtype, [len(bomb)], None]]
        refused_or_valid(framed(37, ["a", "b", 0, True], descriptions, bomb))
    assert not crater.exists()
    pickle.loads(bomb)
    assert crater.exists()


@examples(800)
@given(st.lists(st.binary(max_size=60), max_size=4))
def test_random_frames_are_refused(frames: list[bytes]) -> None:
    refused_or_valid(frames)
    for opening in (b"\x94\x02", b"\xc1\x02\x01\x01", b"\xc1\x02\x02\x00"):
        refused_or_valid([opening + frame for frame in frames])


@examples(1000)
@given(ANY_MESSAGE, st.data())
def test_damaged_messages_are_refused_or_valid(message: Message, data: st.DataObject) -> None:
    frames = frames_of(message, data.draw(st.sampled_from([0, INLINE])))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, max(len(frames) - 1, 0)))
        frame = frames.pop(at) if frames else b"x"
        cut = data.draw(st.integers(0, len(frame)))
        damage: dict[str, list[bytes]] = {
            "flip": [frame[:cut] + bytes([data.draw(st.integers(0, 255))]) + frame[cut + 1 :]],
            "cut": [frame[:cut]],
            "drop": [],
            "repeat": [frame, frame],
            "swap": [*frames[at : at + 1], frame],
        }
        frames[at : at + 1] = damage[data.draw(st.sampled_from(list(damage)))]
    refused_or_valid(frames)


@examples(600)
@given(ANY_MESSAGE, JSON, st.data())
def test_a_header_with_one_value_replaced_is_refused_or_valid(
    message: Message, value: object, data: st.DataObject
) -> None:
    header, *rest = frames_of(message, data.draw(st.sampled_from([0, INLINE])))
    assume(header[0] != MAGIC)
    spot = msgpack.unpackb(header)
    tree, at = spot, data.draw(st.integers(0, len(spot) - 1))
    while isinstance(spot[at], list) and spot[at] and data.draw(st.booleans()):
        spot = spot[at]
        at = data.draw(st.integers(0, len(spot) - 1))
    spot[at] = value
    refused_or_valid([msgpack.packb(tree), *rest])
