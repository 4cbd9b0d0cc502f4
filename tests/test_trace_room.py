"""Without disk space or a folder for a trace, training goes on and one line reports it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from coordinator.traces.files import TraceFile
from protocol import Activation
from tests.traced import LABELS, X, opened, ran, tiny
from workers.recording import trace_writer as writer
from workers.recording.tracer import FileTracer


@pytest.fixture
def small_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file may be larger than 64 KiB."""
    allocate = os.posix_fallocate

    def small(file: int, start: int, size: int) -> None:
        if start + size > 1 << 16:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        allocate(file, start, size)

    monkeypatch.setattr(os, "posix_fallocate", small)


def use(traced: FileTracer, times: int) -> None:
    message = Activation(1, 1, True, X, LABELS)
    for _ in range(times):
        traced.received("layer0", message)
        traced.used("layer0", message)
        traced.sending("layer2", message)
        traced.work_done()
    traced.close()


@pytest.mark.usefixtures("small_disk")
def test_full_disk_leaves_no_file_and_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for mode in ("ring", "full"):
        traced = opened(tmp_path, mode)
        use(traced, 10)
        (line,) = capfd.readouterr().err.splitlines()
        assert line.endswith("layer1.trace: No space left on device; nothing more is traced here")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("small_disk")
def test_disk_that_fills_up_leaves_a_readable_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CHUNK", 256)
    traced = opened(tmp_path, "full")
    use(traced, 1000)
    (line,) = capfd.readouterr().err.splitlines()
    assert line.endswith("layer1.trace: No space left on device; nothing more is traced here")
    found = TraceFile.read(tmp_path / "layer1.trace")
    assert sum(map(len, found.blocks())) == found.records == 1280
    assert not found.problems


@pytest.mark.parametrize("what", ["a file", "nothing", "in the way"])
def test_folder_without_write_permission_is_reported_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], what: str
) -> None:
    folder = tmp_path / "trace"
    if what == "a file":
        folder.touch()
    if what == "in the way":
        folder.mkdir()
        (folder / "layer1.trace").write_text("of another run", "utf-8")
    traced = opened(folder, "ring")
    use(traced, 10)
    (line,) = capfd.readouterr().err.splitlines()
    assert "layer1.trace: " in line
    if what == "in the way":
        assert (folder / "layer1.trace").read_text("utf-8") == "of another run"


def test_with_tracing_off_there_is_no_folder(tmp_path: Path) -> None:
    ran(tiny(mode="off", steps=5), tmp_path / "run")
    assert not (tmp_path / "run" / "trace").exists()
