"""A recording is read as it was written, and no other file can do harm."""

from __future__ import annotations

import os
import re
import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import Credit, Gradient, RunError, State
from protocol import recording_format as recording
from protocol.codec import limits
from protocol.recording_format import (
    ReceivedMessage,
    read_entries,
    read_messages,
    read_metadata,
)
from tests.examples import examples, is_nightly
from tests.network import DATA
from tests.recordings import (
    DATASET,
    ENTRIES,
    METADATA,
    STATE,
    X,
    comparable,
    encode,
    readable,
)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "layer1.messages"
    path.write_bytes(encode())
    assert read_metadata(path) == replace(
        METADATA, dataset={**DATASET, "shape": DATA.shape, "labels": (0, 1, 2)}
    )
    assert readable(path) == ([comparable(entry) for entry in ENTRIES], "")
    received = [comparable(entry) for entry in ENTRIES if isinstance(entry, ReceivedMessage)]
    assert [comparable(entry) for entry in read_messages(path)] == received


def test_a_truncated_file_is_read_up_to_its_last_whole_entry(tmp_path: Path) -> None:
    path = tmp_path / "layer1.messages"
    gradient = ReceivedMessage("layer2", Gradient(1, 0, X))
    small = (*ENTRIES[:2], gradient, *ENTRIES[3:-1], replace(STATE, arrays=(X, X)))
    with patch.object(limits, "INLINE", 0):  # small arrays are frames of their own
        whole = encode(small)
        ends = [len(encode(small[:count])) for count in range(len(small) + 1)]
    near = {size for end in (16, *ends) for size in range(end - 40, end + 40)}
    every = set(range(len(whole)))
    for size in sorted(every if is_nightly() else near & every):
        path.write_bytes(whole[:size])
        count = sum(end <= size for end in ends) - 1
        found, error = readable(path)
        assert found == [comparable(entry) for entry in small[: max(count, 0)]]
        if size in ends:
            assert not error
        elif size < 16:
            assert error == f"{path}: holds no recorded messages"
        else:
            place = "its header" if count < 0 else f"entry {count + 1}"
            assert error == f"{path}: is cut off in {place}"


@examples(300)
@given(data=st.data())
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage.messages"
    whole = bytearray(encode())
    start = data.draw(st.sampled_from([0, 16, len(recording.encode_header(METADATA))]))
    at = data.draw(st.integers(start, len(whole)))
    junk = data.draw(st.binary(max_size=200))
    whole[at : at + len(junk)] = junk
    path.write_bytes(whole[: data.draw(st.integers(at, len(whole)))])
    found, error = readable(path)
    assert error.startswith(f"{path}: ") or not error
    assert "\n" not in error
    intact = [i for i in range(len(ENTRIES) + 1) if len(encode(ENTRIES[:i])) <= at]
    count = max(intact, default=0)
    assert found[:count] == [comparable(entry) for entry in ENTRIES[:count]]


def raw_entry(tag: bytes, place: int, count: int, *sizes: int, data: bytes = b"") -> bytes:
    return struct.pack("<cxHI", tag, place, count) + struct.pack(f"<{len(sizes)}Q", *sizes) + data


BAD_ENTRIES: dict[str, tuple[bytes, str]] = {
    "no tag": (raw_entry(b"?", 0, 0), "damaged .*not a valid Operation"),
    "no message": (raw_entry(b"R", 0, 0), "damaged .*not a valid Operation"),
    "not encoded": (raw_entry(b"R", 0, 1, 3, data=b"abc"), "damaged"),
    "work with a message": (b"W" + raw_entry(b"R", 0, 1, 3, data=b"abc")[1:], "damaged"),
    "many frames": (raw_entry(b"R", 0, 1 << 31), "damaged .*2147483648 frames"),
    "a long frame": (raw_entry(b"R", 0, 2, 3, 1 << 60), "damaged .*1152921504606846976 bytes"),
    "a long header": (raw_entry(b"R", 0, 1, 1 << 30), "damaged .*1073741824 bytes"),
    "a missing frame": (raw_entry(b"S", 0, 2, 3, 1 << 30), "cut off"),
    "all lengths missing": (raw_entry(b"S", 0, 4000), "cut off"),
}


@pytest.mark.parametrize("name", BAD_ENTRIES)
def test_sizes_in_an_entry_are_checked_before_memory_is_allocated(
    tmp_path: Path, name: str
) -> None:
    bad, expected = BAD_ENTRIES[name]
    path = tmp_path / "layer1.messages"
    path.write_bytes(encode(ENTRIES[:2]) + bad)
    tracemalloc.start()
    try:
        found, error = readable(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found) == 2
    assert re.search(f"layer1.messages: is {expected}", error)
    assert "entry 3" in error
    assert peak < 1 << 20


def test_a_sparse_file_is_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "layer1.messages"
    path.write_bytes(struct.pack("<8sII", recording.MAGIC, recording.FORMAT, (1 << 32) - 1))
    os.truncate(path, 1 << 40)
    tracemalloc.start()
    try:
        assert readable(path) == ([], f"{path}: is damaged: metadata of 4294967295 bytes")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def header(**changes: object) -> bytes:
    return recording.encode_header(replace(METADATA, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda _: b"", "holds no recorded messages"),
        (lambda data: b"dnitrace" + data[8:], "holds no recorded messages"),
        (lambda data: data[:8] + b"\1" + data[9:], "has messages format 1; this is format 2"),
        (lambda data: data.replace(b"threads\x02", b"threads\x00"), "has broken metadata"),
        (lambda data: data.replace(b"threads\x02", b"threadz\x02"), "has broken metadata"),
        (lambda _: header(stage=7), "has broken metadata"),
        (lambda _: header(first=0), "has broken metadata"),
        (lambda _: header()[:20], "is cut off in its header"),
    ],
)
def test_a_broken_header_is_refused(
    tmp_path: Path, damage: Callable[[bytes], bytes], expected: str
) -> None:
    path = tmp_path / "layer1.messages"
    path.write_bytes(damage(encode()))
    with pytest.raises(RunError, match=f"layer1.messages: {expected}"):
        read_metadata(path)


def test_a_missing_file_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"none\.messages: cannot be read: No such file"):
        list(read_entries(tmp_path / "none.messages"))


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (recording.encode_message(7, Credit(1)), "no sender has the number 7"),
        (recording.encode_message(0, cast(Credit, STATE)), r"b'R' with the message State"),
        (recording.encode_state(cast(State, Credit(1))), r"b'S' with the message Credit"),
    ],
)
def test_a_message_in_the_wrong_place_is_refused(
    tmp_path: Path, pieces: list[recording.Piece], expected: str
) -> None:
    path = tmp_path / "layer1.messages"
    path.write_bytes(encode(ENTRIES[:1]) + b"".join(bytes(piece) for piece in pieces))
    found, error = readable(path)
    assert len(found) == 1
    assert error == f"{path}: is damaged in entry 2: {expected}"
