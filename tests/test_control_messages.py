"""A control message with one wrong thing in its header is refused for that thing."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgpack
import numpy as np
import pytest

from protocol import VERSION, Ready, State, WireError, decode, encode
from protocol.codec.limits import MAX_ARRAYS, MAX_HEADER
from tests.messages import content, frames_of

ROW = b"x" * 12
PAIR: list[object] = ["<f4", [3], None]
UPLOAD: list[object] = ["host1", "a.log", 0, True]


Header = Callable[[object], object]
"""Makes a header with a wrong value in it."""


class Case(NamedTuple):
    """A header that is wrong, and words of the error that says so."""

    header: object
    error: str


def cases(name: str, error: str, header: Header, *values: object) -> dict[str, Case]:
    """The case of each wrong value, by its name."""
    return {f"{name} {value!r:.40}": Case(header(value), error) for value in values}


def replaced(kind: int, values: list[object], index: int) -> Header:
    """Makes headers of a message with `values`, of which the one at `index` is wrong."""
    return lambda value: [VERSION, kind, [*values[:index], value, *values[index + 1 :]], []]


def upload(description: object) -> object:
    """The header of an Upload, with `description` of its only array."""
    return [VERSION, 37, UPLOAD, [description]]


EVALUATED: list[object] = ["layer0", 1, 0.5, 1, 1]
START: list[object] = [{}, {}, {}]
FAILED: list[object] = ["layer0", 1, "user", ""]
HEADERS = {
    **cases("header", "not a list", lambda v: v, None, 1, "", {}),
    **cases("header", "Error", lambda v: v, [], [2], [2, 19, []], [2, 19, [], [], []]),
    **cases(
        *("version", "protocol version", lambda v: [v, 19, [], []]),
        *(0, 1, 3, None, "2", True, 2.0, [2], -2),
    ),
    **cases(
        *("kind", "unknown kind", lambda v: [VERSION, v, [], []]),
        *(0, 1, 2, 3, 4, 99, -1, True, 19.0, "19", None, [19]),
    ),
    **cases(
        *("fields", "Ready with the fields", lambda v: [VERSION, 18, v, []]),
        *([], ["a", "b"], "x", {"x": 1}, None, 1, b"x"),
    ),
    **cases(
        "no fields", "Go with the fields", lambda v: [VERSION, 19, v, []], "", {}, None, b"", 0
    ),
    **cases("name", "Ready.name is", replaced(18, ["a"], 0), 1, None, b"x", ["x"], {}, 1.5),
    **cases(
        *("number", "Evaluated.step is", replaced(21, EVALUATED, 1)),
        *(-1, 1 << 63, True, 1.0, "1", None, [1]),
    ),
    **cases("loss", "Evaluated.loss is", replaced(21, EVALUATED, 2), 1, None, "1", True),
    **cases("cause", "Failed.cause is", replaced(22, FAILED, 2), "User", "", None, 1, b"user"),
    **cases("pipeline", "Start.pipeline is", replaced(17, START, 0), [], None, "x", {b"a": 1}),
    **cases("pipeline", "not allowed for map key", replaced(17, START, 0), {1: 1}),
    **cases("flag", "Upload.last is", replaced(37, UPLOAD, 3), 1, 0, None, "true"),
    **cases("arrays", "not described in a list", lambda v: [VERSION, 19, [], v], None, 1, "", {}),
    **cases("arrays", "Go with 1 arrays", lambda v: [VERSION, 19, [], v], [PAIR]),
    **cases("arrays", "Upload with 0 arrays", lambda v: [VERSION, 37, UPLOAD, v], []),
}
SHAPES: list[object] = [
    *([-3], [3, -1, -1], [True, 3], [3.0], ["3"], [[3]], None, 3, "3", {"3": 1}, b"\3"),
    [3, *[1] * 8],
]
OTHER_SIZES: list[object] = [[2], [4], [], [0], [2**63, 2], [2**64 - 1] * 8]
NO_DTYPES: list[object] = [
    *("f4", "<f3", "|O", "|O8", "<U1", ">f4", "=f4", "", "|V4", "<f4,<f4", "(3)<f4", "<M8[s]"),
    *("<f4:f2", None, 4, b"<f4", ["<f4"], [["a", "f4"]]),
]
NO_PAIRS: list[object] = [None, 1, "", "ab", [], ["<f4"], PAIR[:2], [*PAIR, 1], {}]
ARRAYS = {
    **cases("shape", "an array of shape", lambda v: upload(["<f4", v, None]), *SHAPES),
    **cases("size", "an array has 12 bytes", lambda v: upload(["<f4", v, None]), *OTHER_SIZES),
    **cases("dtype", "unknown dtype", lambda v: upload([v, [3], None]), *NO_DTYPES),
    **cases("array", "Error", upload, *NO_PAIRS),
    **cases("inside", "inside the header", lambda v: upload(["<f4", [3], v]), "x" * 12, 1, []),
    **cases("inside", "bytes, not 12", lambda v: upload(["<f4", [3], v]), b"x" * 11, b""),
    **cases("inside", "more frames came", lambda v: upload(["<f4", [3], v]), ROW),
}


def test_headers_of_the_cases_are_accepted_without_their_fault() -> None:
    for kind, values in ((18, ["a"]), (21, EVALUATED), (17, START), (22, FAILED), (19, [])):
        decode([msgpack.packb([VERSION, kind, values, []])])
    decode([msgpack.packb(upload(PAIR)), ROW])


@pytest.mark.parametrize("case", HEADERS.values(), ids=HEADERS)
def test_a_header_with_a_wrong_value_is_refused(case: Case) -> None:
    with pytest.raises(WireError, match=case.error):
        decode([msgpack.packb(case.header)])


@pytest.mark.parametrize("case", ARRAYS.values(), ids=ARRAYS)
def test_an_array_with_a_wrong_description_is_refused(case: Case) -> None:
    with pytest.raises(WireError, match=case.error):
        decode([msgpack.packb(case.header), ROW])


def test_a_state_has_many_arrays_but_not_too_many() -> None:
    row = np.zeros(3, np.float32)
    most = State("a", 1, {}, ("row",) * MAX_ARRAYS, (row,) * MAX_ARRAYS)
    assert content(decode(frames_of(most))) == content(most)
    more = State("a", 1, {}, ("row",) * (MAX_ARRAYS + 1), (row,) * (MAX_ARRAYS + 1))
    with pytest.raises(TypeError, match="4097 arrays cannot be sent"):
        encode(more)
    descriptions = [PAIR] * (MAX_ARRAYS + 1)
    with pytest.raises(WireError, match="exceeds max_array_len"):
        decode([msgpack.packb([VERSION, 23, ["a", 1, {}, []], descriptions])])


def test_a_header_is_long_but_not_too_long() -> None:
    assert isinstance(decode(frames_of(Ready("x" * (MAX_HEADER - 20)))), Ready)
    with pytest.raises(WireError, match="a header of"):
        decode([msgpack.packb([VERSION, 18, ["x" * MAX_HEADER], []])])
    with pytest.raises(TypeError, match="cannot be sent"):
        encode(Ready("x" * MAX_HEADER))
