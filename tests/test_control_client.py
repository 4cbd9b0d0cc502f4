"""The errors of `dni status`, `dni stop` and `dni revoke` for a run that does not answer."""

from __future__ import annotations

import json
import select
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from coordinator.control import client
from coordinator.control.address import ControlAddress
from coordinator.control.client import revoke, status, stop
from coordinator.control.server import ControlServer
from coordinator.control.snapshot import Snapshot
from coordinator.observers.recorder import RunRecorder
from coordinator.run_folder.layout import CONTROL, METRICS, SUMMARY
from protocol import RunError
from tests.control_help import serving
from tests.traced import tiny

WAITING = Snapshot("waiting")


@pytest.fixture
def sockets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    """The folder of a run that this process records."""
    recorder = RunRecorder(tmp_path, tiny())
    yield tmp_path
    recorder.close()


def change(run: Path, **fields: Any) -> None:
    """Write a control file in which these fields differ from that of a run of this process."""
    replace(ControlAddress.new(run / "nowhere", cluster=True), **fields).write(run)


def refused(run: Path) -> str:
    """The error of every command for `run`."""
    errors = []
    for command in (status, stop, lambda folder: revoke(folder, "host1")):
        with pytest.raises(RunError) as caught:
            command(run)
        errors.append(str(caught.value).removeprefix(f"{run}: "))
    assert len(set(errors)) == 1
    return errors[0]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"host": "ada"}, "the head of this run is on the host 'ada'; run dni there"),
        (
            {"namespace": "pid:[1]"},
            "the head of this run is in another container of this host; run dni there",
        ),
        ({"boot": "before"}, "the head of this run is on another host, which is called"),
        ({}, "the run goes on, but its control socket"),
    ],
)
def test_the_error_names_the_place_of_a_head_that_cannot_be_reached(
    run: Path, fields: Mapping[str, str], error: str
) -> None:
    change(run, **fields)
    assert refused(run).startswith(error)


@pytest.mark.parametrize("fields", [{}, {"boot": "before"}])
def test_a_run_whose_head_was_killed_is_over(run: Path, fields: Mapping[str, str]) -> None:
    change(run, **fields)
    (run / METRICS).rename(run / "locked")
    (run / METRICS).touch()
    assert refused(run) == "the run is over; its head ended without a summary"


def test_a_socket_that_nobody_listens_on_is_that_of_a_run_that_is_over(
    sockets: Path, tmp_path: Path
) -> None:
    served = ControlServer(sockets, tmp_path, lambda: WAITING)
    text = (tmp_path / CONTROL).read_text("utf-8")
    served.close()
    assert not (tmp_path / CONTROL).exists()
    (tmp_path / CONTROL).write_text(text, "utf-8")
    (tmp_path / METRICS).touch()
    assert refused(tmp_path) == "the run is over; its head ended without a summary"


def test_a_socket_of_another_run_is_not_taken_for_that_of_this_one(
    sockets: Path, run: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    with serving(ControlServer(sockets, other, lambda: WAITING)) as requests:
        address = ControlAddress.read(other)
        assert address is not None
        change(run, socket=address.socket)
        assert "control socket" in refused(run)
        assert status(other)["state"] == "waiting"
    assert requests == []


def test_a_run_that_does_not_reply_in_time_is_reported(
    sockets: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "REPLY_SECONDS", 0.1)
    served = ControlServer(sockets, run, lambda: WAITING)
    assert "has not replied within" in refused(run)
    served.close()


def test_a_run_that_ends_while_a_client_waits_is_reported(sockets: Path, run: Path) -> None:
    served = ControlServer(sockets, run, lambda: WAITING)
    errors: list[str] = []

    def ask() -> None:
        with pytest.raises(RunError) as caught:
            status(run)
        errors.append(str(caught.value))

    thread = threading.Thread(target=ask)
    thread.start()
    assert select.select([served], [], [], 10.0)[0], "the client has connected"
    served.close()
    thread.join()
    assert errors[0].partition(": ")[2].startswith(("the run is ending", "the run is starting"))


def test_the_run_of_another_user_is_reported(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    change(run)
    monkeypatch.setattr(socket.socket, "connect", denied)
    assert "belongs to another user" in refused(run)


def test_a_run_with_a_summary_is_over(sockets: Path, run: Path) -> None:
    with serving(ControlServer(sockets, run, lambda: WAITING)):
        (run / SUMMARY).write_text("{}", "utf-8")
        assert refused(run) == "the run is over"


@pytest.mark.parametrize("text", ["", "[]", "{}", "7", '{"socket": "/x"}', "\0", "[" * 9000])
def test_a_control_file_that_cannot_be_read_is_none(run: Path, text: str) -> None:
    (run / CONTROL).write_text(text, "utf-8")
    assert ControlAddress.read(run) is None
    assert refused(run).startswith("the run is starting or ending")


@pytest.mark.parametrize("field", ["socket", "key", "host", "boot", "namespace", "cluster"])
def test_a_control_file_with_a_field_of_another_type_is_none(run: Path, field: str) -> None:
    table = asdict(ControlAddress.new(run, cluster=False))
    (run / CONTROL).write_text(json.dumps(table), "utf-8")
    assert ControlAddress.read(run) is not None
    (run / CONTROL).write_text(json.dumps(table | {field: 7}), "utf-8")
    assert ControlAddress.read(run) is None


def test_the_control_file_leads_to_a_socket_that_only_the_owner_of_its_folder_can_enter(
    sockets: Path, run: Path
) -> None:
    served = ControlServer(sockets, run, lambda: WAITING)
    address = ControlAddress.read(run)
    assert address is not None
    assert Path(address.socket).parent == sockets
    assert sockets.stat().st_mode & 0o077 == 0
    served.close()
