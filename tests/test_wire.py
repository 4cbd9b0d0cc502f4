"""What is sent arrives, and bytes of any other origin are refused with WireError, at no cost."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints
from unittest.mock import patch

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from protocol import VERSION, Activation, Array, Go, Gradient, Message, Ready, State
from protocol.codec import frames as codec_frames
from protocol.codec.frames import MAX_ARRAYS, MAX_HEADER, WireError, decode, encode
from protocol.codec.layouts import INLINE
from protocol.codec.schema import DTYPES, KINDS
from tests.examples import examples

NUMBER = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats()
LEAF = NUMBER | st.text() | st.binary()
JSON = st.recursive(
    LEAF, lambda x: st.lists(x).map(tuple) | st.dictionaries(st.text(), x), max_leaves=6
)
LAYOUTS: list[Callable[[Array], Array]] = [
    lambda a: a,
    lambda a: a.T,
    lambda a: a[::-1] if a.ndim else a,
    lambda a: a[..., ::2] if a.ndim else a,
    lambda a: np.broadcast_to(a, (2, *a.shape)),
    lambda a: a.astype(a.dtype.newbyteorder(">")).T,
]


def arrays() -> st.SearchStrategy[Array]:
    """Arrays of every dtype, of 0 to 5 axes, empty ones too, however they lie in memory."""
    shapes = hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=3)
    whole = st.sampled_from(list(DTYPES.values())).flatmap(lambda dtype: hnp.arrays(dtype, shapes))
    return st.builds(lambda array, layout: layout(array), whole, st.sampled_from(LAYOUTS))


TYPES: dict[object, st.SearchStrategy[Any]] = {
    int: st.integers(0, 2**63 - 1),
    str: st.text(),
    bool: st.booleans(),
    float: st.floats(),
    tuple[str, ...]: st.lists(st.text(), max_size=3).map(tuple),
    float | None: st.none() | st.floats(),
    dict[str, object]: st.dictionaries(st.text(), JSON, max_size=4),
    Array: arrays(),
}


def state(name: str, step: int, facts: dict[str, object], named: dict[str, Array]) -> State:
    return State(name, step, facts, tuple(named), tuple(named.values()))


def messages(kind: type[Message]) -> st.SearchStrategy[Message]:
    if kind is State:
        named = st.dictionaries(st.text(), arrays(), max_size=3)
        return st.builds(state, TYPES[str], TYPES[int], TYPES[dict[str, object]], named)
    made = {}
    for name, hint in get_type_hints(kind).items():
        words = get_args(hint) if get_origin(hint) is Literal else ()
        made[name] = st.sampled_from(words) if words else TYPES[hint]  # KeyError: add the type
    return st.builds(kind, **made)


ANY = st.sampled_from(list(KINDS.values())).flatmap(messages)


def sent(message: Message, inline: int = 0) -> list[bytes]:
    """The frames of `message` as a socket delivers them, byte by byte as they lie in memory.

    Arrays travel inside the header up to `inline` bytes: none but empty ones unless said.
    """
    with patch.object(codec_frames, "INLINE", inline):
        frames = encode(message)
    assert all(f.flags.c_contiguous for f in frames if isinstance(f, np.ndarray))
    return [f if isinstance(f, bytes) else f.tobytes() for f in frames]


def framed(kind: object, values: object, described: object = (), *frames: bytes) -> list[bytes]:
    return [msgpack.packb([VERSION, kind, values, described]), *frames]


def text(value: object) -> object:
    """`value` in a form that is equal where every bit that counts is, NaN included."""
    if isinstance(value, np.ndarray):
        little = value.astype(value.dtype.newbyteorder("<"))
        return little.dtype.str, little.shape, little.tobytes()
    return [text(item) for item in value] if isinstance(value, tuple) else repr(value)


def named(message: Message) -> dict[str, object]:
    """The fields of `message` by their names."""
    return {name: getattr(message, name) for name in get_type_hints(type(message))}


def content(message: Message) -> list[object]:
    return [type(message), *map(text, named(message).values())]


def refused_or_sound(frames: list[bytes]) -> None:
    """Assert the door's promise: WireError, or a message that could have been sent."""
    try:
        message = decode(frames)
    except WireError:
        return
    assert content(decode(sent(message, INLINE))) == content(message)
    tables = [value for value in named(message).values() if isinstance(value, dict)]
    assert all(isinstance(key, str) for table in tables for key in table)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.__name__)
def test_a_message_arrives_as_it_was_sent(kind: type[Message]) -> None:
    @examples(50)
    @given(messages(kind))
    def arrives(message: Message) -> None:
        for inline in (0, INLINE):
            assert content(decode(sent(message, inline))) == content(message)

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
    header, array = sent(Gradient(1, 1, np.ones(shape, np.float32)))
    frame = bytearray(array)
    message = decode([header, memoryview(frame)])
    assert isinstance(message, Gradient)
    assert not message.gradient.flags.writeable
    frame[:] = bytes(len(frame))
    assert not message.gradient.any()


@pytest.mark.parametrize("dtype", ["O", "c8", "M8[s]", "U3", "V4", "g"])
def test_an_array_of_another_dtype_is_not_sent(dtype: str) -> None:
    with pytest.raises(TypeError, match="cannot travel"):
        encode(Gradient(1, 1, np.zeros(2, dtype)))


PAIR: list[object] = ["<f4", [3], None]
ROW = b"x" * 12


def bad(what: str, header: Callable[[object], object], *values: object) -> dict[str, object]:
    return {f"{what} {value!r}": header(value) for value in values}


SHAPES: list[object] = [
    *([-3], [3, -1, -1], [True, 3], [3.0], ["3"], [[3]], None, 3, "3", {"3": 1}, b"\3"),
    *([2], [4], [], [0], [2**63, 2], [2**64 - 1] * 8, [3, *[1] * 8]),
]
NO_DTYPES: list[object] = [
    *("f4", "<f3", "|O", "|O8", "<U1", ">f4", "=f4", "", "|V4", "<f4,<f4", "(3)<f4", None, 4),
    *(b"<f4", ["<f4"], [["a", "f4"]]),
]
NO_PAIRS: list[object] = [None, 1, "", "ab", [], ["<f4"], PAIR[:2], [*PAIR, 1], {}]
BAD_ARRAYS = {
    **bad("shape", lambda v: ["<f4", v, None], *SHAPES),
    **bad("dtype", lambda v: [v, [3], None], *NO_DTYPES, "<M8[s]"),
    **bad("array", lambda v: v, *NO_PAIRS),
    **bad("inside", lambda v: ["<f4", [3], v], "x" * 12, b"x" * 11, b"", 1, [], True, ROW),
}
BAD_HEADERS = {
    **bad("version", lambda v: [v, 19, [], []], 0, 2, None, "1", True, 1.0, [1], -1),
    **bad("kind", lambda v: [1, v, [], []], 0, 99, -1, True, 19.0, "19", None, [19], 2**64 - 1),
    **bad("header", lambda v: v, None, 1, "", [], {}, [1], [1, 19, []], [1, 19, [], [], []]),
    **bad("fields", lambda v: [1, 18, v, []], [], ["a", "b"], "x", {"x": 1}, None, 1, b"x"),
    **bad("no fields", lambda v: [1, 19, v, []], "", {}, None, b"", 0),
    **bad("name", lambda v: [1, 18, [v], []], 1, None, b"x", ["x"], {}, 1.5),
    **bad("credit", lambda v: [1, 3, [v], []], -1, 1 << 63, True, 1.0, "1", None, [1]),
    **bad("mark", lambda v: [1, 4, [v, 1], []], "End", "", None, 1, ["end"], b"end"),
    **bad("loss", lambda v: [1, 21, [1, v, 1, 1], []], 1, None, "1", True),
    **bad("pipeline", lambda v: [1, 17, [v, {}, 0, "", ""], []], [], None, "x", {b"a": 1}, {1: 1}),
    **bad("arrays", lambda v: [1, 19, [], v], None, 1, "", {}, [PAIR]),
}


@pytest.mark.parametrize("name", BAD_HEADERS)
def test_a_header_that_none_of_us_sends_is_refused(name: str) -> None:
    with pytest.raises(WireError):
        decode([msgpack.packb(BAD_HEADERS[name])])


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_an_array_described_as_it_is_not_is_refused(name: str) -> None:
    decode(framed(2, [1, 1], [PAIR], ROW))
    with pytest.raises(WireError):
        decode(framed(2, [1, 1], [BAD_ARRAYS[name]], ROW))


def test_too_few_and_too_many_frames_are_refused() -> None:
    row = np.zeros(3, np.float32)
    one, two = sent(Gradient(1, 1, row)), sent(Activation(1, 1, True, row, row))
    for frames in ([], one[:1], [*one, ROW], two[:2], [*two, ROW], [*sent(Go()), b""]):
        with pytest.raises(WireError):
            decode(frames)
    most = State("a", 1, {}, ("row",) * MAX_ARRAYS, (row,) * MAX_ARRAYS)
    assert content(decode(sent(most))) == content(most)
    with pytest.raises(WireError, match="frames"):
        decode(framed(23, ["a", 1, {}, []], [], *[ROW] * (MAX_ARRAYS + 1)))


def test_a_header_may_be_long_but_not_too_long() -> None:
    assert isinstance(decode(sent(Ready("x" * (MAX_HEADER - 20)))), Ready)
    with pytest.raises(WireError, match="header"):
        decode(framed(18, ["x" * MAX_HEADER]))
    with pytest.raises(TypeError, match="cannot travel"):
        encode(Ready("x" * MAX_HEADER))


CLAIMS = {
    "array": framed(2, [1, 1], [["<f8", [2**40], None]], ROW),
    "empty array": framed(2, [1, 1], [["<f8", [0, 2**62, 2**62], None]], b""),
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
    refused_or_sound(framed(17, [{"a": msgpack.ExtType(1, bomb)}, {}, 0, "", ""]))
    refused_or_sound([bomb, bomb])
    for dtype in ("|O", "|O8", "|u1"):
        refused_or_sound(framed(2, [1, 1], [[dtype, [len(bomb)], None]], bomb))
    assert not crater.exists()
    pickle.loads(bomb)
    assert crater.exists()


@examples(800)
@given(st.lists(st.binary(max_size=60), max_size=4))
def test_random_frames_are_refused(frames: list[bytes]) -> None:
    refused_or_sound(frames)
    refused_or_sound([b"\x94\x01" + frame for frame in frames])


@examples(1000)
@given(ANY, st.data())
def test_damaged_messages_are_refused_or_sound(message: Message, data: st.DataObject) -> None:
    frames = sent(message, data.draw(st.sampled_from([0, INLINE])))
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
    refused_or_sound(frames)


@examples(600)
@given(ANY, JSON, st.data())
def test_a_header_with_one_value_replaced_is_refused_or_sound(
    message: Message, value: object, data: st.DataObject
) -> None:
    header, *rest = sent(message, data.draw(st.sampled_from([0, INLINE])))
    spot = msgpack.unpackb(header)
    tree, at = spot, data.draw(st.integers(0, len(spot) - 1))
    while isinstance(spot[at], list) and spot[at] and data.draw(st.booleans()):
        spot = spot[at]
        at = data.draw(st.integers(0, len(spot) - 1))
    spot[at] = value
    refused_or_sound([msgpack.packb(tree), *rest])
