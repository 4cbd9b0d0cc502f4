"""Plain data are read from a pickle as by unpickling, and nothing else is executed."""

from __future__ import annotations

import os
import pickle
import pickletools
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import DataError
from tests.data_help import refusal
from tests.data_pickles import python2
from workers.data import pickles

PIXELS = np.arange(12, dtype=np.uint8).reshape(2, 6)
TABLE: dict[str, Any] = {
    "data": PIXELS,
    "labels": [3, 70_000, -5, 2**70],
    "name": "é" * 300,
    "raw": b"\xff" * 300,
    "nested": [{"a": (), "b": (1,), "c": (1, 2, 3, 4)}, [], {}, None, True, False],
}
OLD = python2(PIXELS, [3, 7])


def same(found: object, expected: dict[str, Any]) -> bool:
    """Whether two tables are equal, arrays element by element."""
    assert isinstance(found, dict)
    assert found.keys() == expected.keys()
    np.testing.assert_array_equal(found["data"], expected["data"])
    assert found["data"].dtype == np.uint8
    return all(found[key] == expected[key] for key in expected if key != "data")


@pytest.mark.parametrize("protocol", [3, 4])
def test_a_table_pickled_today_is_read_as_it_was(protocol: int) -> None:
    assert same(pickles.read_pickle(pickle.dumps(TABLE, protocol), "file"), TABLE)
    turned = TABLE | {"data": np.asfortranarray(PIXELS)}
    assert same(pickles.read_pickle(pickle.dumps(turned, protocol), "file"), TABLE)


@pytest.mark.filterwarnings("ignore:numpy.core:DeprecationWarning")
def test_a_table_of_python_2_is_read_as_by_unpickling() -> None:
    assert same(pickles.read_pickle(OLD, "file"), pickle.loads(OLD, encoding="latin1"))


class _Touch:
    """An object whose unpickling creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_with_a_call_is_refused_without_the_call(tmp_path: Path, protocol: int) -> None:
    touched = tmp_path / "touched"
    evil = pickle.dumps({"data": PIXELS.tolist(), "labels": [_Touch(touched)]}, protocol)
    assert refusal(lambda: pickles.read_pickle(evil, "file")).startswith(
        "file: is not a pickle of plain data"
    )
    assert not touched.exists()
    pickle.loads(evil)  # so much for the pickle
    assert touched.exists()


@pytest.mark.parametrize(
    ("program", "expected"),
    {
        b"cos\nsystem\nU\x04true\x85R.": "names 'os system'",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.": "names 'os system'",
        b"(U\x04trueios\nsystem\n.": "the instruction INST",
        b"cbuiltins\neval\nU\x011\x85R.": "names 'builtins eval'",
        b"cnumpy.core.multiarray\nscalar\n.": "names 'numpy.core.multiarray scalar'",
        b"cnumpy\ndtype\nU\x02O8K\0K\1\x87R.": "calls something other than an array of uint8",
        b"cnumpy\nndarray\n)\x81.": "the instruction NEWOBJ",
        b"cnumpy\nndarray\n)R.": "calls something other than an array of uint8",
        b"U\x04trueU\x04true\x85R.": "calls something other than an array of uint8",
        b"}}b.": "builds something other than an array of uint8",
        b"\x80\x02\x82\x01.": "the instruction EXT1",
        b"U\x01aQ.": "the instruction BINPERSID",
        b"}]K\1s.": "a key that is not a string",
        b"}(K\1K\2u.": "a key that is not a string",
        b"]K\1K\2s.": "sets items of something that is not a dict",
        b"}K\1a.": "appends to something that is not a list",
        b"}(U\1au.": "is not a pickle of plain data",
        b"K\1K\2.": "is not a pickle of plain data",
        b".": "is not a pickle of plain data",
        b"e.": "is not a pickle of plain data",
        b"h\x09.": "is not a pickle of plain data",
        b"": "is not a pickle of plain data",
        b"\x80\x04\x8e" + b"\xff" * 8 + b"x.": "is not a pickle of plain data",
        b"T\xff\xff\xff\x7fx.": "is not a pickle of plain data",
        b"\x8b\xff\xff\xff\x7fx.": "is not a pickle of plain data",
        b"cos\\q\nsystem\n.": "names",
        b"I" + b"9" * 5000 + b"\n.": "is not a pickle of plain data",
    }.items(),
)
def test_a_pickle_of_other_objects_is_refused(program: bytes, expected: str) -> None:
    text = refusal(lambda: pickles.read_pickle(program, "file"))
    assert text.startswith("file: ")
    assert expected in text
    assert len(text) < 250


def test_an_array_of_another_size_or_kind_is_refused() -> None:
    short = OLD.replace(PIXELS.tobytes(), PIXELS.tobytes()[:-1] + b"0")
    pickles.read_pickle(short, "file")
    for other in (np.ones(3), np.array(["a"]), np.array([None]), PIXELS.astype("u2")):
        refusal(partial(pickles.read_pickle, pickle.dumps({"data": other}, 4), "file"))
    assert "array" in refusal(
        lambda: pickles.read_pickle(OLD.replace(b"J\6\0\0\0", b"J\7\0\0\0"), "file")
    )


def test_a_truncated_pickle_is_refused() -> None:
    for whole in (OLD, pickle.dumps(TABLE, 4)):
        for end in range(len(whole)):
            refusal(partial(pickles.read_pickle, whole[:end], "file"))


def test_a_deep_pickle_causes_no_recursion() -> None:
    deep = b"]" * 20_000 + b"a" * 19_999 + b"."
    assert isinstance(pickles.read_pickle(deep, "file"), list)
    named = deep[:-1] + b"U\1a\x93."
    assert "by something that is not a string" in refusal(
        lambda: pickles.read_pickle(named, "file")
    )
    tuples = b"}" + b")" + b"\x85" * 200_000 + b"K\1s."
    assert "a key that is not a string" in refusal(lambda: pickles.read_pickle(tuples, "file"))


CODES = b"".join(code.code.encode("latin-1") for code in pickletools.opcodes)


@given(
    st.lists(st.sampled_from([bytes([code]) for code in CODES]) | st.binary(max_size=3)),
    st.integers(0, len(OLD)),
    st.integers(0, len(OLD)),
)
def test_any_bytes_are_plain_data_or_refused(pieces: list[bytes], start: int, end: int) -> None:
    mixed = OLD[:start] + b"".join(pieces) + OLD[end:]
    try:
        pickles.read_pickle(mixed, "file")
    except DataError:
        refusal(lambda: pickles.read_pickle(mixed, "file"))
