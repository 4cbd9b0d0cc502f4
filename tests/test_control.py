"""The control socket of a run: requests reach this run and no other, whatever else is there."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator.control import server
from coordinator.control.address import ControlAddress
from coordinator.control.client import revoke, status, stop
from coordinator.control.messages import (
    MAX_REQUEST_BYTES,
    ControlRequest,
    RevokeRequest,
    StatusRequest,
    StopRequest,
    decode_request,
    encode_request,
)
from coordinator.control.run_control import RunControl
from coordinator.control.server import ControlServer
from coordinator.control.snapshot import HostStatus, LocalHost, Snapshot
from coordinator.interrupts import InterruptCounter
from coordinator.observers.recorder import RunRecorder
from coordinator.observers.run_stats import RunStats
from protocol import Report, SpecError
from protocol.config import HEAD
from tests.control_help import serving
from tests.traced import tiny

WAITING = Snapshot("waiting", waiting_for="1 of 2 slots joined")
REQUESTS = (StatusRequest(), StopRequest(), RevokeRequest("host1"))


@pytest.fixture
def sockets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    """The folder of a run that this process records."""
    recorder = RunRecorder(tmp_path, tiny())
    yield tmp_path
    recorder.close()


def raw(run: Path, data: bytes) -> bytes:
    """What the server of `run` replies to `data`."""
    address = ControlAddress.read(run)
    assert address is not None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(10)
        peer.connect(address.socket)
        try:
            peer.sendall(data)
            peer.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: peer.recv(4096), b""))
        except ConnectionError:
            return b""


def host(name: str) -> HostStatus:
    return HostStatus(name, "ada", "10.0.0.2", 1, 4, {"layer0": ["layer0"]}, 0.25)


# -- requests and replies


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_request_is_read_as_it_was_sent(request_: StatusRequest | ControlRequest) -> None:
    assert decode_request(encode_request(request_, "key"), "key") == request_


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"7",
        b"[]",
        b"\xff",
        b"[" * 4000,
        b"{}",
        b'{"key": "key"}',
        b'{"request": "stop"}',
        b'{"key": "key", "request": "end"}',
        b'{"key": "other", "request": "stop"}',
        b'{"key": "key", "request": "stop", "host": "host1"}',
        b'{"key": "key", "request": "revoke"}',
        b'{"key": "key", "request": "revoke", "host": 1}',
        b"1" * 5000,
    ],
)
def test_a_line_that_is_no_request_to_this_run_is_none(line: bytes) -> None:
    assert decode_request(line, "key") is None


def test_a_status_is_the_snapshot_of_the_moment(sockets: Path, run: Path) -> None:
    snapshots = iter([WAITING, Snapshot("training", step=7, hosts=[host("host1")])])
    with serving(ControlServer(sockets, run, lambda: next(snapshots))):
        assert status(run)["waiting_for"] == "1 of 2 slots joined"
        found = status(run)
    assert (found["state"], found["step"]) == ("training", 7)
    assert found["hosts"] == [host("host1").as_dict()]


def test_a_stop_request_arrives_once(sockets: Path, run: Path) -> None:
    with serving(ControlServer(sockets, run, lambda: WAITING)) as requests:
        stop(run)
    assert requests == [StopRequest()]


def test_a_host_of_the_run_is_revoked_and_no_other(sockets: Path, run: Path) -> None:
    snapshot = Snapshot("training", hosts=[host(HEAD), host("host1")])
    with serving(ControlServer(sockets, run, lambda: snapshot)) as requests:
        revoke(run, "host1")
        for name in ("host7", HEAD, ""):
            with pytest.raises(SpecError, match=f"^{name}: no such host in this run"):
                revoke(run, name)
    assert requests == [RevokeRequest("host1")]


def test_a_status_larger_than_the_buffer_of_a_socket_is_complete(sockets: Path, run: Path) -> None:
    stages = [{"layer": f"layer{n}", "filler": "x" * 1000} for n in range(3000)]
    with serving(ControlServer(sockets, run, lambda: Snapshot("training", stages=stages))):
        assert status(run)["stages"] == stages


def test_many_clients_at_once_are_all_answered(sockets: Path, run: Path) -> None:
    found: list[str] = []

    def ask() -> None:
        found.append(status(run)["state"])

    threads = [threading.Thread(target=ask) for _ in range(5 * server.MAX_CONNECTIONS)]
    with serving(ControlServer(sockets, run, lambda: WAITING)):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == ["waiting"] * len(threads)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"GET / HTTP/1.1\r\n\r\n",
        bytes(range(256)),
        b"x" * (MAX_REQUEST_BYTES + 1),
        encode_request(StopRequest(), "another run"),
        encode_request(StopRequest(), "") * 2,
    ],
)
def test_foreign_bytes_get_no_reply_and_do_no_harm(
    sockets: Path, run: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    monkeypatch.setattr(server, "CONNECTION_SECONDS", 0.5)  # an empty line may begin a request
    with serving(ControlServer(sockets, run, lambda: WAITING)) as requests:
        assert raw(run, data) == b""
        assert status(run)["state"] == "waiting"
    assert requests == []


def test_silent_clients_do_not_keep_others_out(
    sockets: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "CONNECTION_SECONDS", 0.05)
    served = ControlServer(sockets, run, lambda: WAITING)
    address = ControlAddress.read(run)
    assert address is not None
    silent = [socket.socket(socket.AF_UNIX) for _ in range(3 * server.MAX_CONNECTIONS)]
    for peer in silent:
        peer.connect(address.socket)
    with serving(served):
        assert status(run)["state"] == "waiting"
    for peer in silent:
        peer.close()


def test_a_poll_without_clients_returns_at_once(sockets: Path, run: Path) -> None:
    served = ControlServer(sockets, run, lambda: WAITING)
    began = time.monotonic()
    for _ in range(100):
        assert served.poll() == []
    assert time.monotonic() - began < 1.0
    served.close()


# -- the run of this process


def test_a_stop_request_counts_as_ctrl_c_and_a_revoked_host_is_the_hosts_to_handle(
    sockets: Path, run: Path
) -> None:
    revoked: list[str] = []

    class TwoHosts(LocalHost):
        def hosts(self) -> list[HostStatus]:
            return [host(HEAD), host("host1")]

        def revoke(self, name: str) -> None:
            revoked.append(name)

    interrupts, stats = InterruptCounter(), RunStats(tiny())
    control = RunControl(sockets, run, stats, interrupts, cluster=True)
    states = [control.snapshot().state]
    control.hosts = TwoHosts(2, tiny())
    stats.add(Report("layer0", 3))
    states.append(control.snapshot().state)

    def ask() -> None:
        revoke(run, "host1")
        stop(run)
        stop(run)

    thread = threading.Thread(target=ask)
    thread.start()
    while thread.is_alive():
        control.poll()
    thread.join()
    states.append(control.snapshot().state)
    control.close()
    assert revoked == ["host1"]
    assert (interrupts.count, interrupts.signal) == (1, 2)
    assert states == ["starting", "training", "stopping"]


def test_a_stop_request_to_a_run_that_ends_by_itself_changes_nothing(
    sockets: Path, run: Path
) -> None:
    interrupts = InterruptCounter()
    control = RunControl(sockets, run, RunStats(tiny()), interrupts, cluster=True)
    control.hosts = Waiting(2, tiny())
    assert (control.snapshot().state, control.snapshot().waiting_for) == ("waiting", "1 slot")
    control.stopping = True
    thread = threading.Thread(target=stop, args=(run,))
    thread.start()
    while thread.is_alive():
        control.poll()
    thread.join()
    assert (control.snapshot().state, control.snapshot().waiting_for) == ("stopping", "")
    control.close()
    assert interrupts.count == 0


class Waiting(LocalHost):
    """A host that waits for others."""

    waiting_for = "1 slot"


def test_no_host_can_be_revoked_before_one_has_joined(sockets: Path, run: Path) -> None:
    snapshot = Snapshot("waiting", hosts=[host(HEAD)])
    with (
        serving(ControlServer(sockets, run, lambda: snapshot)),
        pytest.raises(SpecError, match=r"^host1: no such host in this run; no host has joined$"),
    ):
        revoke(run, "host1")


def test_a_local_run_has_one_host_with_all_workers() -> None:
    (found,) = LocalHost(2, tiny()).hosts()
    assert (found.name, found.slots, found.cpus) == (HEAD, 3, 2)
    assert set(found.workers) == {"source", "layer0", "layer1", "layer2"}
