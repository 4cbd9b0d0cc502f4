"""Recorded messages are read as they were written, and whatever else a file holds costs nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import resource
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import (
    Activation,
    Credit,
    Data,
    Gradient,
    Layer,
    Mark,
    Pipeline,
    RunError,
    Send,
    State,
)
from protocol import recording_format as form
from protocol.codec import frames
from protocol.pipeline import Trace
from protocol.recording_format import (
    Call,
    Entry,
    Origin,
    Received,
    Stretched,
    entries,
    payloads,
    read_origin,
)
from tests.examples import examples
from tests.network import DATA
from workers.assembly.build import build_layer, dataset_info
from workers.recording import recorder as message_recorder
from workers.recording.recorder import Tape, open_tape

if TYPE_CHECKING:
    from tests.conftest import Dni

FACTS = dataset_info(DATA).as_dict()
ORIGIN = Origin("layer1", 1, ("layer0", "layer2"), 1, FACTS, 2, "numpy 2, abacus 1")
X = np.arange(6, dtype=np.float32).reshape(2, 3)
BIG = np.arange(3000, dtype=np.float32).reshape(10, 300)  # a frame of its own
LABELS = np.array([1, 2])
STATE = State("layer1", 3, {"step": 3}, ("w", "b"), (BIG, X))
TOLD: tuple[Entry, ...] = (
    Received("layer0", Activation(1, 1, True, X, LABELS)),
    Call.WORK,
    Stretched("layer2", 9),
    Received("layer2", Gradient(1, 0, BIG)),
    Call.WORK,
    Call.BEAT,
    Received("layer2", Credit(1)),
    Received("layer0", Mark("drain", 3)),
    STATE,
)
LATE = 20.0


def written(told: tuple[Entry, ...] = TOLD, origin: Origin = ORIGIN) -> bytes:
    """A file of `told`."""
    parts: list[form.Piece] = [form.opening(origin)]
    for entry in told:
        match entry:
            case Call():
                parts += form.called(entry)
            case Received():
                parts += form.received(origin.senders.index(entry.sender), entry.message)
            case Stretched():
                parts += form.stretched(origin.senders.index(entry.neighbour), entry.window)
            case _:
                parts += form.ended(entry)
    return b"".join(part if isinstance(part, bytes) else part.tobytes() for part in parts)


def text(value: object) -> object:
    """`value`, so that it is equal where every bit is."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, State):
        return [value.name, value.step, value.facts, value.names, text(value.arrays)]
    return [type(value), *map(text, value)] if isinstance(value, tuple) else value


def readable(path: Path) -> tuple[list[object], str]:
    """What can be read of the file, and what is wrong with it behind that; "" for nothing."""
    found: list[object] = []
    try:
        for entry in entries(path):
            found.append(text(entry))  # noqa: PERF401  what was read counts when reading fails
    except RunError as error:
        return found, str(error)
    return found, ""


# -- the format


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "layer1.messages"
    path.write_bytes(written())
    assert read_origin(path) == replace(
        ORIGIN, facts={**FACTS, "shape": DATA.shape, "labels": (0, 1, 2)}
    )
    assert readable(path) == ([text(entry) for entry in TOLD], "")
    received = [text(entry) for entry in TOLD if isinstance(entry, Received)]
    assert [text(entry) for entry in payloads(path)] == received


def test_a_file_that_is_cut_off_anywhere_is_read_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "layer1.messages"
    small = (
        *TOLD[:2],
        Received("layer2", Gradient(1, 0, X)),
        *TOLD[3:-1],
        replace(STATE, arrays=(X, X)),
    )
    with patch.object(frames, "INLINE", 0):  # so that small arrays are frames of their own
        whole = written(small)
        ends = [len(written(small[:count])) for count in range(len(small) + 1)]
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        count = sum(end <= size for end in ends) - 1
        found, wrong = readable(path)
        assert found == [text(entry) for entry in small[: max(count, 0)]]
        if size in ends:
            assert not wrong
        elif size < 16:
            assert wrong == f"{path}: holds no recorded messages"
        else:
            place = "its opening" if count < 0 else f"entry {count + 1}"
            assert wrong == f"{path}: is cut off in {place}"


@examples(300)
@given(data=st.data())
def test_whatever_a_file_holds_is_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage.messages"
    whole = bytearray(written())
    start = data.draw(st.sampled_from([0, 16, len(form.opening(ORIGIN))]))
    at = data.draw(st.integers(start, len(whole)))
    junk = data.draw(st.binary(max_size=200))
    whole[at : at + len(junk)] = junk
    path.write_bytes(whole[: data.draw(st.integers(at, len(whole)))])
    found, wrong = readable(path)
    assert wrong.startswith(f"{path}: ") or not wrong
    assert "\n" not in wrong
    intact = [i for i in range(len(TOLD) + 1) if len(written(TOLD[:i])) <= at]
    count = max(intact, default=0)
    assert found[:count] == [text(entry) for entry in TOLD[:count]]


def entry(tag: bytes, edge: int, count: int, *sizes: int, data: bytes = b"") -> bytes:
    return struct.pack("<cxHI", tag, edge, count) + struct.pack(f"<{len(sizes)}Q", *sizes) + data


BAD: dict[str, tuple[bytes, str]] = {
    "no tag": (entry(b"?", 0, 0), "damaged .*not a valid Call"),
    "no message": (entry(b"R", 0, 0), "damaged .*not a valid Call"),
    "no wire form": (entry(b"R", 0, 1, 3, data=b"abc"), "damaged"),
    "work with a message": (b"W" + entry(b"R", 0, 1, 3, data=b"abc")[1:], "damaged"),
    "many frames": (entry(b"R", 0, 1 << 31), "damaged .*2147483648 frames"),
    "a long frame": (entry(b"R", 0, 2, 3, 1 << 60), "damaged .*1152921504606846976 bytes"),
    "a long header": (entry(b"R", 0, 1, 1 << 30), "damaged .*1073741824 bytes"),
    "a missing frame": (entry(b"S", 0, 2, 3, 1 << 30), "cut off"),
    "all lengths missing": (entry(b"S", 0, 4000), "cut off"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_an_entry_claims_is_checked_before_anything_is_made(tmp_path: Path, name: str) -> None:
    claim, said = BAD[name]
    path = tmp_path / "layer1.messages"
    path.write_bytes(written(TOLD[:2]) + claim)
    tracemalloc.start()
    try:
        found, wrong = readable(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found) == 2
    assert re.search(f"layer1.messages: is {said}", wrong)
    assert "entry 3" in wrong
    assert peak < 1 << 20


def test_a_long_hole_in_the_file_is_not_read_into_memory(tmp_path: Path) -> None:
    """A file may be much longer than what the disk holds of it."""
    path = tmp_path / "layer1.messages"
    path.write_bytes(struct.pack("<8sII", form.MAGIC, form.FORMAT, (1 << 32) - 1))
    os.truncate(path, 1 << 40)
    tracemalloc.start()
    try:
        assert readable(path) == ([], f"{path}: is damaged: an opening of 4294967295 bytes")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda _: b"", "holds no recorded messages"),
        (lambda data: b"dnitrace" + data[8:], "holds no recorded messages"),
        (lambda data: data[:8] + b"\2" + data[9:], "has messages format 2; this is format 1"),
        (lambda data: data.replace(b"threads\x02", b"threads\x00"), "does not say whose"),
        (lambda data: data.replace(b"threads\x02", b"threadz\x02"), "does not say whose"),
        (lambda _: form.opening(replace(ORIGIN, core=cast(str, 7))), "does not say whose"),
        (lambda _: form.opening(replace(ORIGIN, first=0)), "does not say whose"),
        (lambda _: form.opening(ORIGIN)[:20], "is cut off in its opening"),
    ],
)
def test_an_opening_that_is_none_is_refused(
    tmp_path: Path, damage: Callable[[bytes], bytes], said: str
) -> None:
    path = tmp_path / "layer1.messages"
    path.write_bytes(damage(written()))
    with pytest.raises(RunError, match=f"layer1.messages: {said}"):
        read_origin(path)
    with pytest.raises(RunError, match=r"nobody\.messages: cannot be read: No such file"):
        list(entries(tmp_path / "nobody.messages"))


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        (form.received(7, Credit(1)), "a core with the number 7"),
        (form.received(0, STATE), r"b'R' with the message State"),  # type: ignore[arg-type]
        (form.ended(Credit(1)), r"b'S' with the message Credit"),  # type: ignore[arg-type]
    ],
)
def test_a_message_in_the_wrong_place_is_refused(
    tmp_path: Path, pieces: list[form.Piece], said: str
) -> None:
    path = tmp_path / "layer1.messages"
    path.write_bytes(written(TOLD[:1]) + b"".join(bytes(piece) for piece in pieces))
    found, wrong = readable(path)
    assert len(found) == 1
    assert wrong == f"{path}: is damaged in entry 2: {said}"


# -- writing it


def pipeline(mode: str = "messages", batches: tuple[int, ...] = ()) -> Pipeline:
    return Pipeline(
        data=Data(name="digits", batch=8),
        trace=Trace(mode=mode, batches=batches),
        layer=(Layer(("linear 5",)), Layer(("linear 3",))),
    )


def recorder(folder: Path) -> Tape:
    core = build_layer(pipeline(), dataset_info(DATA), 0)
    made = open_tape(core, pipeline(), FACTS, folder)
    assert made is not None
    return made


@pytest.mark.parametrize("mode", ["ring", "full", "off"])
def test_in_other_modes_nothing_is_made(tmp_path: Path, mode: str) -> None:
    core = build_layer(pipeline(mode), dataset_info(DATA), 0)
    assert open_tape(core, pipeline(mode), FACTS, tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_every_entry_is_in_the_file_at_once(tmp_path: Path) -> None:
    """Nothing waits in the process, so nothing is lost when that is killed."""
    path, made = tmp_path / "layer0.messages", recorder(tmp_path)
    assert readable(path) == ([], "")
    made.received("layer1", Gradient(1, 1, BIG))
    assert readable(path)[0] == [text(Received("layer1", Gradient(1, 1, BIG)))]
    sends = made.through(Call.WORK, iter(()))
    list(sends)
    assert readable(path)[0][1:] == [Call.WORK]
    made.close()
    assert len(readable(path)[0]) == 2


def test_writes_that_the_kernel_takes_in_parts_are_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.writev
    monkeypatch.setattr(message_recorder, "AT_ONCE", 2)
    monkeypatch.setattr(
        os, "writev", lambda file, pieces: whole(file, [bytes(p)[:1000] for p in pieces[:1]])
    )
    path, made = tmp_path / "layer0.messages", recorder(tmp_path)
    made.received("layer1", Gradient(1, 1, BIG))
    made.ended(STATE)
    expected = [text(Received("layer1", Gradient(1, 1, BIG))), text(STATE)]
    assert readable(path) == (expected, "")


def test_what_is_recorded_of_an_array_that_lies_otherwise_is_what_the_core_gets(
    tmp_path: Path,
) -> None:
    path, made = tmp_path / "layer0.messages", recorder(tmp_path)
    for odd in (BIG.T, BIG[:, ::2], BIG.astype(">f4")):
        given = made.received("layer1", Gradient(1, 1, odd))
        assert isinstance(given, Gradient)
        assert given.gradient.flags.c_contiguous
        assert given.gradient.dtype.str == "<f4"
        assert text(list(payloads(path))[-1].message) == text(given)
    plain = Gradient(2, 1, BIG)
    given = made.received("layer1", plain)
    assert isinstance(given, Gradient)
    assert given.gradient is BIG
    made.close()


def test_a_layer_that_broke_in_its_work_leaves_no_weights(tmp_path: Path) -> None:
    path, made = tmp_path / "layer0.messages", recorder(tmp_path)

    def breaks() -> Iterator[Send]:
        yield Send("layer1", TOLD[0].message)  # type: ignore[union-attr]
        raise RuntimeError("a cosmic ray")

    with pytest.raises(RuntimeError, match="cosmic"):
        list(made.through(Call.WORK, breaks()))
    made.ended(STATE)
    assert readable(path) == ([Call.WORK], "")


def test_a_full_disk_ends_the_recording_with_its_last_whole_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, made = tmp_path / "layer0.messages", recorder(tmp_path)
    whole, room = os.writev, 20_000

    def narrow(file: int, pieces: list[memoryview]) -> int:
        left = room - os.fstat(file).st_size
        if left <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return whole(file, [b"".join(map(bytes, pieces))[:left]])

    monkeypatch.setattr(os, "writev", narrow)
    for batch in (1, 2, 3):
        made.received("layer1", Gradient(batch, 1, BIG))
    made.ended(STATE)
    made.close()
    assert [r.message.batch for r in payloads(path)] == [1]  # type: ignore[union-attr]
    assert readable(path)[1] == ""
    said = f"{path}: No space left on device; no more messages are recorded here\n"
    assert capsys.readouterr().err == said


def test_a_recording_leaves_room_on_the_disk_for_what_a_run_cannot_do_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, made = tmp_path / "layer0.messages", recorder(tmp_path)
    made.received("layer1", Gradient(1, 1, BIG))
    monkeypatch.setattr(message_recorder, "RESERVE", 1 << 60)
    for batch in (2, 3):
        made.received("layer1", Gradient(batch, 1, BIG))
    made.ended(STATE)
    assert [r.message.batch for r in payloads(path)] == [1]  # type: ignore[union-attr]
    assert readable(path)[1] == ""
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{path}: less than 1099511627776 MiB of the disk are left; no more")


@pytest.mark.slow
def test_where_the_disk_is_full_training_goes_on(dni: Dni) -> None:
    training = dni.train("-o", "trace.mode=messages", "-o", "trace.megabytes=1")
    path = training.folder / "trace" / "layer1.messages"
    size = path.stat().st_size + 100_000
    worker = training.family["layer1"]
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (size, size))
    log = training.folder / "logs" / "layer1.log"
    dni.until(lambda: "no more messages are recorded" in log.read_text("utf-8"), "the disk is full")
    before = training.metrics()[-1]["step"]
    dni.until(lambda: training.metrics()[-1]["step"] > before, "it trains on")
    assert readable(path)[1] == ""
    assert path.stat().st_size <= size
    with contextlib.suppress(ProcessLookupError):
        training.signal(2)
    assert training.end(LATE) == 130
    (line,) = log.read_text("utf-8").splitlines()
    assert line.startswith(f"{path.resolve()}: File too large; no more messages")
    dni.nothing_left()


def test_a_file_that_cannot_be_made_is_no_reason_not_to_train(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = recorder(tmp_path / "nowhere")
    assert "No such file or directory; no more messages" in capsys.readouterr().err
    message = Credit(1)
    assert made.received("layer1", message) is message
    assert list(made.through(Call.WORK, iter(()))) == []
    made.ended(STATE)
