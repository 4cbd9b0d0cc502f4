"""A layer's messages are in the file as soon as they arrive, and a full disk stops no training."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from protocol import Credit, DataConfig, Gradient, LayerConfig, Pipeline, Send
from protocol.config import TraceConfig
from protocol.recording_format import Operation, ReceivedMessage, read_messages
from tests.network import DATA
from tests.recordings import BIG, DATASET, STATE, comparable, readable
from workers.assembly.build import build_layer, dataset_info
from workers.recording import recorder as message_recorder
from workers.recording.recorder import RESERVE, MessageRecorder, open_recorder

if TYPE_CHECKING:
    from tests.dni import Dni

LATE = 20.0


def pipeline(mode: str = "messages", batches: tuple[int, ...] = ()) -> Pipeline:
    return Pipeline(
        data=DataConfig(name="digits", batch=8),
        trace=TraceConfig(mode=mode, batches=batches),
        layer=(LayerConfig(("linear 5",)), LayerConfig(("linear 3",))),
    )


def recorder(folder: Path) -> MessageRecorder:
    stage = build_layer(pipeline(), dataset_info(DATA), 0)
    return MessageRecorder(stage, pipeline(), DATASET, folder)


def batches_in(path: Path) -> list[int]:
    """The batches of the gradients in the file."""
    found = [entry.message for entry in read_messages(path)]
    return [message.batch for message in found if isinstance(message, Gradient)]


@pytest.mark.parametrize("mode", ["ring", "full", "off"])
def test_other_trace_modes_record_no_messages(tmp_path: Path, mode: str) -> None:
    stage = build_layer(pipeline(mode), dataset_info(DATA), 0)
    assert open_recorder(stage, pipeline(mode), DATASET, tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_every_entry_is_in_the_file_at_once(tmp_path: Path) -> None:
    """No entry waits in the process, so none is lost when the process is killed."""
    path, made = tmp_path / "layer0.messages", recorder(tmp_path)
    assert readable(path) == ([], "")
    made.record_message("layer1", Gradient(1, 1, BIG))
    assert readable(path)[0] == [comparable(ReceivedMessage("layer1", Gradient(1, 1, BIG)))]
    sends = made.record_operation(Operation.WORK, iter(()))
    list(sends)
    assert readable(path)[0][1:] == [Operation.WORK]
    made.close()
    assert len(readable(path)[0]) == 2


def test_partial_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.writev
    monkeypatch.setattr(message_recorder, "PIECES_PER_CALL", 2)
    monkeypatch.setattr(
        os, "writev", lambda file, pieces: whole(file, [bytes(p)[:1000] for p in pieces[:1]])
    )
    path, made = tmp_path / "layer0.messages", recorder(tmp_path)
    made.record_message("layer1", Gradient(1, 1, BIG))
    made.finish(STATE)
    expected = [
        comparable(ReceivedMessage("layer1", Gradient(1, 1, BIG))),
        comparable(STATE),
    ]
    assert readable(path) == (expected, "")


def test_an_array_in_another_memory_order_reaches_the_stage_as_it_is_recorded(
    tmp_path: Path,
) -> None:
    path, made = tmp_path / "layer0.messages", recorder(tmp_path)
    for odd in (BIG.T, BIG[:, ::2], BIG.astype(">f4")):
        given = made.record_message("layer1", Gradient(1, 1, odd))
        assert isinstance(given, Gradient)
        assert given.gradient.flags.c_contiguous
        assert given.gradient.dtype.str == "<f4"
        assert comparable(list(read_messages(path))[-1].message) == comparable(given)
    given = made.record_message("layer1", Gradient(2, 1, BIG))
    assert isinstance(given, Gradient)
    assert given.gradient is BIG
    made.close()


def test_a_layer_that_fails_in_an_operation_records_no_state(tmp_path: Path) -> None:
    path, made = tmp_path / "layer0.messages", recorder(tmp_path)

    def fails() -> Iterator[Send]:
        yield Send("layer1", Credit(1))
        raise RuntimeError("a cosmic ray")

    with pytest.raises(RuntimeError, match="cosmic"):
        list(made.record_operation(Operation.WORK, fails()))
    made.finish(STATE)
    assert readable(path) == ([Operation.WORK], "")


def test_a_full_disk_ends_the_recording_after_its_last_whole_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, made = tmp_path / "layer0.messages", recorder(tmp_path)
    whole, room = os.writev, 20_000

    def limited(file: int, pieces: list[memoryview]) -> int:
        left = room - os.fstat(file).st_size
        if left <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return whole(file, [b"".join(map(bytes, pieces))[:left]])

    monkeypatch.setattr(os, "writev", limited)
    for batch in (1, 2, 3):
        made.record_message("layer1", Gradient(batch, 1, BIG))
    made.finish(STATE)
    made.close()
    assert batches_in(path) == [1]
    assert readable(path)[1] == ""
    line = f"{path}: No space left on device; no more messages are recorded here\n"
    assert capsys.readouterr().err == line


def test_a_recording_leaves_the_reserve_of_the_disk_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, made = tmp_path / "layer0.messages", recorder(tmp_path)
    made.record_message("layer1", Gradient(1, 1, BIG))
    almost_full = os.statvfs_result((4096, 4096, 1 << 30, 1000, 1000, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "fstatvfs", lambda _: almost_full)
    for batch in (2, 3):
        made.record_message("layer1", Gradient(batch, 1, BIG))
    made.finish(STATE)
    assert batches_in(path) == [1]
    assert readable(path)[1] == ""
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{path}: less than {RESERVE >> 20} MiB of the disk are left; no more")


@pytest.mark.slow
def test_training_continues_when_the_disk_is_full(dni: Dni) -> None:
    training = dni.train("-o", "trace.mode=messages", "-o", "trace.megabytes=1")
    path = training.folder / "trace" / "layer1.messages"
    size = path.stat().st_size + 100_000
    worker = training.family["layer1"]
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (size, size))
    log = training.folder / "logs" / "layer1.log"
    dni.until(lambda: "no more messages are recorded" in log.read_text("utf-8"), "the disk is full")
    before = training.metrics()[-1]["step"]
    dni.until(lambda: training.metrics()[-1]["step"] > before, "training continues")
    assert readable(path)[1] == ""
    assert path.stat().st_size <= size
    with contextlib.suppress(ProcessLookupError):
        training.signal(2)
    assert training.end(LATE) == 130
    (line,) = log.read_text("utf-8").splitlines()
    assert line.startswith(f"{path.resolve()}: File too large; no more messages")
    dni.nothing_left()


def test_training_continues_when_the_file_cannot_be_created(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = recorder(tmp_path / "missing")
    assert "No such file or directory; no more messages" in capsys.readouterr().err
    message = Credit(1)
    assert made.record_message("layer1", message) is message
    assert list(made.record_operation(Operation.WORK, iter(()))) == []
    made.finish(STATE)
