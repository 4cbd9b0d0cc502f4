"""IDX files are read as they were written, or refused with an error of one line."""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from protocol.errors import DataError
from tests.data_help import (
    CODES,
    Array,
    arrays,
    idx_folder,
    packed,
    refusal,
)
from workers.data import idx, load
from workers.data.streams import read_up_to

pytestmark = pytest.mark.usefixtures("own_folders")

shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=5)
idx_arrays = st.sampled_from(sorted(CODES)).flatmap(lambda kind: hnp.arrays(kind, shapes))


@given(idx_arrays)
def test_an_idx_array_is_read_as_it_was_written(array: Array) -> None:
    back = idx.read_idx(io.BytesIO(packed(array)), "file")
    assert back.dtype == array.dtype
    assert back.dtype.isnative
    np.testing.assert_array_equal(back, array)


@given(idx_arrays, st.data())
def test_an_idx_file_of_any_other_length_is_refused(array: Array, data: st.DataObject) -> None:
    whole = packed(array)
    cut = data.draw(st.integers(0, len(whole) - 1))
    for wrong in (whole[:cut], whole + b"\0"):
        read = partial(idx.read_idx, io.BytesIO(wrong), "file")
        assert refusal(read).startswith("file: ")


garbage = st.binary(max_size=80) | st.binary(max_size=80).map(lambda tail: b"\0\0" + tail)
headers = st.builds(
    lambda code, sizes, tail: (
        struct.pack(f">BBBB{len(sizes)}I", 0, 0, code, len(sizes), *sizes) + tail
    ),
    st.sampled_from(sorted(CODES.values())),
    st.lists(st.integers(0, 2**32 - 1), max_size=40),
    st.binary(max_size=40),
)


@given(garbage | headers)
def test_any_bytes_are_an_idx_array_or_refused(raw: bytes) -> None:
    try:
        array = idx.read_idx(io.BytesIO(raw), "file")
    except DataError:
        return
    assert packed(array) == raw or array.dtype.kind == "f"  # a NaN may change its bits


class _Endless(io.RawIOBase):
    """An endless stream that counts the bytes requested from it."""

    given = 0

    def read(self, size: int = -1, /) -> bytes:
        self.given += size
        return bytes(size)


def test_an_endless_stream_is_read_up_to_the_requested_size() -> None:
    stream = _Endless()
    assert len(read_up_to(stream, 3_000_000)) == 3_000_000  # type: ignore[arg-type]
    assert stream.given == 3_000_000


@pytest.mark.parametrize(
    "spelling",
    [
        lambda name: name,
        lambda name: f"{name}.gz",
        lambda name: name.replace("-idx", ".idx"),
        lambda name: name.replace("t10k", "test").replace("-idx", ".idx") + ".gz",
    ],
    ids=["plain", "gzipped", "dotted", "test"],
)
def test_a_folder_of_idx_files_is_a_data_set(
    tmp_path: Path, spelling: Callable[[str], str]
) -> None:
    own = load(path=idx_folder(tmp_path / "own", arrays(), spelling))
    assert (own.name, own.shape, own.classes) == ("own", (2, 2), 4)
    np.testing.assert_array_equal(own.x_test, arrays()["x_test"])


def test_the_error_for_a_folder_without_an_idx_file_names_the_file(tmp_path: Path) -> None:
    folder = idx_folder(tmp_path / "own", arrays(), lambda name: name)
    (folder / "t10k-labels-idx1-ubyte").rename(folder / "t10k-label-idx1-ubyte")
    text = refusal(lambda: load(path=folder))
    assert "t10k-labels-idx1-ubyte[.gz] is missing; did you mean 't10k-label-idx1-ubyte'?" in text


def test_no_file_of_another_array_is_proposed_for_a_missing_file(tmp_path: Path) -> None:
    folder = idx_folder(tmp_path / "own", arrays(), lambda name: name)
    labels = folder / "t10k-labels-idx1-ubyte"
    labels.unlink()
    assert refusal(lambda: load(path=folder)).endswith("t10k-labels-idx1-ubyte[.gz] is missing")
    labels.mkdir()
    assert refusal(lambda: load(path=folder)).endswith("ubyte: is a folder, not a file")


def test_a_gzip_bomb_is_refused_by_the_size_in_its_header(tmp_path: Path) -> None:
    folder = idx_folder(tmp_path / "own", arrays(), lambda name: f"{name}.gz")
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(packed(arrays()["x_train"]) + bytes(100_000_000), 1))
    assert f"{path}: its IDX header states 24 bytes" in refusal(lambda: load(path=folder))


def test_a_truncated_gzip_is_refused(tmp_path: Path) -> None:
    folder = idx_folder(tmp_path / "own", arrays(), lambda name: f"{name}.gz")
    path = folder / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    assert f"{path}: broken gzip" in refusal(lambda: load(path=folder))
