"""A run belongs to one process, and no other one is taken for it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coordinator.cluster.owner import Owner
from coordinator.cluster.status import status, stop
from coordinator.observers.recorder import Recorder
from coordinator.run_folder.layout import METRICS, STATUS, SUMMARY
from protocol import RunError
from tests.traced import tiny

HERE = Owner.current().as_dict()
SLEEPS = "import signal, time; print('ready', flush=True); time.sleep(60)"


@pytest.fixture
def other() -> Iterator[subprocess.Popen[str]]:
    """A process that ends by SIGINT, and by nothing else before the test does."""
    command = [sys.executable, "-c", SLEEPS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def owner_of(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> Owner:
    table = Owner.current().as_dict() | {"pid": process.pid}
    started = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19])
    found = Owner.read(table | {"started": started})
    assert found is not None
    return found


def test_this_process_is_alive_and_reads_back_what_it_wrote() -> None:
    owner = Owner.current()
    assert owner.alive
    assert owner.elsewhere == ""
    assert Owner.read(json.loads(json.dumps(owner.as_dict()))) == owner


@pytest.mark.parametrize(
    "change",
    [
        {"started": 1},
        {"boot": "00000000-0000-0000-0000-000000000000"},
        {"host": "another"},
        {"namespace": "pid:[1]"},
        {"pid": 1 << 30},
    ],
)
def test_a_process_of_the_same_id_is_not_taken_for_the_owner_nor_interrupted(
    other: subprocess.Popen[str], change: dict[str, Any]
) -> None:
    owner = replace(owner_of(other), **change)
    assert not owner.alive
    assert not owner.interrupt()
    assert other.poll() is None


def test_the_owner_itself_is_interrupted(other: subprocess.Popen[str]) -> None:
    owner = owner_of(other)
    assert owner.interrupt()
    assert other.wait(10) == -signal.SIGINT
    assert not owner.interrupt()


@pytest.mark.parametrize(
    ("ignored", "ends_by"), [((), signal.SIGINT), ((signal.SIGINT,), signal.SIGTERM)]
)
def test_a_process_that_ignores_sigint_is_sent_sigterm(
    ignored: tuple[signal.Signals, ...], ends_by: signal.Signals
) -> None:
    with _ignoring(ignored) as process:
        assert owner_of(process).interrupt()
        assert process.wait(10) == -ends_by


def test_a_process_that_cannot_be_asked_to_end_is_named() -> None:
    with _ignoring((signal.SIGINT, signal.SIGTERM)) as process:
        with pytest.raises(RunError, match="ignores SIGINT and SIGTERM; end it with kill -KILL"):
            owner_of(process).interrupt()
        process.kill()


@pytest.mark.parametrize("error", [PermissionError, OSError(38, "Function not implemented")])
def test_a_system_that_holds_no_process_ids_is_asked_by_the_id(
    other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    def refuses(_: int) -> int:
        raise error

    monkeypatch.setattr("os.pidfd_open", refuses)
    assert owner_of(other).interrupt()
    assert other.wait(10) == -signal.SIGINT


def test_the_run_of_another_user_is_not_stopped_and_that_is_said(
    other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("signal.pidfd_send_signal", refuses)
    with pytest.raises(RunError, match=f"process {other.pid} belongs to another user"):
        owner_of(other).interrupt()


@contextmanager
def _ignoring(signals: tuple[signal.Signals, ...]) -> Iterator[subprocess.Popen[str]]:
    code = "".join(f"signal.signal({number:d}, signal.SIG_IGN); " for number in signals)
    code = f"import signal; signal.signal(2, signal.SIG_DFL); {code}{SLEEPS}"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process


@pytest.mark.parametrize(
    "table",
    [
        None,
        7,
        {},
        {"pid": 1},
        Owner.current().as_dict() | {"pid": "1"},
        Owner.current().as_dict() | {"pid": -1},
    ],
)
def test_what_is_no_owner_is_none(table: object) -> None:
    assert Owner.read(table) is None


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    """The folder of a run on several hosts that this process records."""
    recorder = Recorder(tmp_path, tiny())
    write(tmp_path, Owner.current())
    yield tmp_path
    recorder._metrics.close()


def write(folder: Path, owner: Owner) -> None:
    found = {"owner": owner.as_dict(), "state": "waiting", "agents": [], "endpoint": "e"}
    (folder / STATUS).write_text(json.dumps(found), "utf-8")


def test_a_run_that_goes_on_has_a_status(run: Path) -> None:
    assert status(run)["state"] == "waiting"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"started": 1}, "on another host, which is called"),
        ({"boot": "before"}, "on another host, which is called"),
        ({"host": "ada"}, "the head of this run is on the host 'ada'; run dni there"),
        ({"namespace": "pid:[1]"}, "in another container of this host; run dni there"),
    ],
)
def test_a_run_whose_head_is_not_here_is_neither_shown_nor_stopped(
    run: Path, change: dict[str, Any], said: str
) -> None:
    write(run, replace(Owner.current(), **change))
    for ask in (status, stop):
        with pytest.raises(RunError) as caught:
            ask(run)
        assert said in str(caught.value)


@pytest.mark.parametrize("change", [{}, {"started": 1}, {"boot": "before"}, {"pid": 1 << 30}])
def test_a_run_that_nobody_records_any_more_is_over(run: Path, change: dict[str, Any]) -> None:
    write(run, replace(Owner.current(), **change))
    (run / METRICS).rename(run / "old")
    (run / METRICS).touch()
    for ask in (status, stop):
        with pytest.raises(RunError, match="the run is over; its head ended without a summary"):
            ask(run)


def test_a_run_with_a_summary_is_over(run: Path) -> None:
    (run / SUMMARY).write_text("{}", "utf-8")
    with pytest.raises(RunError, match="the run is over"):
        status(run)


def test_a_status_that_cannot_be_read_is_no_run(run: Path) -> None:
    for text in ("", "[]", "{}", '{"owner": {"pid": 1}}', "\0"):
        (run / STATUS).write_text(text, "utf-8")
        with pytest.raises(RunError, match="is a run on this host alone"):
            status(run)
