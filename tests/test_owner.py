"""A run belongs to one process, and no other one is taken for it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coordinator.record import METRICS, STATUS, SUMMARY, Recorder
from coordinator.several.owner import Owner
from coordinator.several.status import status, stop
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
        ({"started": 1}, "the run is over; its head ended without a summary"),
        ({"boot": "before"}, "the run is over; its head ended without a summary"),
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


def test_a_run_that_nobody_records_any_more_is_over(run: Path) -> None:
    (run / METRICS).rename(run / "old")
    (run / METRICS).touch()
    with pytest.raises(RunError, match="the run is over; its head ended without a summary"):
        stop(run)


def test_a_run_with_a_summary_is_over(run: Path) -> None:
    (run / SUMMARY).write_text("{}", "utf-8")
    with pytest.raises(RunError, match="the run is over"):
        status(run)


def test_a_status_that_cannot_be_read_is_no_run(run: Path) -> None:
    for text in ("", "[]", "{}", '{"owner": {"pid": 1}}', "\0"):
        (run / STATUS).write_text(text, "utf-8")
        with pytest.raises(RunError, match="holds no run on several machines"):
            status(run)
