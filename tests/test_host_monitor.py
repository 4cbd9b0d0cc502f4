"""The monitor of hosts: silence, departure, revocation, and exits of workers on other hosts."""

from __future__ import annotations

import pytest

from coordinator.cluster.host_monitor import CHECK_SECONDS, LOST_SECONDS, STALL_SECONDS, HostMonitor
from coordinator.cluster.registry import Host, Registry
from coordinator.lifecycle.events import RunBroken, WorkerExited
from protocol import VERSION, Leave
from protocol.config import HEAD
from protocol.messages import Died, Enrol, Refused, ToAgent, Welcome

TOKEN = "e" * 64


class Watched:
    """A registry with the hosts host1 (layer0) and host2 (no worker), and a clock to set."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.reported: list[str] = []
        self.sent: list[tuple[str, ToAgent]] = []
        self.registry = Registry(("layer0", "layer1"), TOKEN, 9, "1.0", "clock")
        head = Host(HEAD, "ada", "10.0.0.1", "f" * 64, 0, 1, (), self.now, present=True)
        self.registry.add_head(head)
        self.monitor = HostMonitor(
            self.registry,
            lambda name, message: self.sent.append((name, message)),
            self.reported.append,
            clock=lambda: self.now,
        )
        for number in (1, 2):
            assert isinstance(self.enrol(number), Welcome)
            self.monitor.on_ping(f"host{number}")
        self.hosts["host1"].workers["layer0"] = frozenset({"layer0"})

    @property
    def hosts(self) -> dict[str, Host]:
        return self.registry.hosts

    def enrol(self, number: int) -> Welcome | Refused:
        key = f"{number:064x}"
        requested = Enrol(VERSION, "1.0", key, f"name{number}", "10.0.0.2", number, 4, ())
        return self.monitor.on_enrol(requested, TOKEN)

    def pass_time(self, seconds: float) -> None:
        """The head checks its hosts all the while."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 2 * CHECK_SECONDS)
            self.monitor.check()


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_a_host_is_reported_with_its_slots_when_it_joins(watched: Watched) -> None:
    assert watched.reported == [
        "host1: name1 at 10.0.0.2, 1 slot",
        "host2: name2 at 10.0.0.2, 2 slots",
    ]
    watched.monitor.on_ping("host1")
    watched.enrol(3)
    watched.monitor.on_ping("host3")
    assert watched.reported[2:] == ["host3: name3 at 10.0.0.2, 3 slots, in reserve"]


def test_a_silent_host_is_lost_with_its_workers(watched: Watched) -> None:
    watched.pass_time(LOST_SECONDS - 0.1)
    assert set(watched.hosts) == {HEAD, "host1", "host2"}
    watched.hosts["host2"].last_seen = watched.now
    watched.pass_time(0.4)
    assert set(watched.hosts) == {HEAD, "host2"}
    assert watched.sent == [("host1", Refused("no message for 5 s"))]
    reason = "is gone: host1, no message for 5 s"
    assert list(watched.monitor.exits()) == [WorkerExited("layer0", 0, reason=reason)]
    assert list(watched.monitor.exits()) == []


def test_no_host_is_lost_while_the_head_itself_was_stalled(watched: Watched) -> None:
    watched.now += LOST_SECONDS + STALL_SECONDS
    watched.monitor.check()
    assert set(watched.hosts) == {HEAD, "host1", "host2"}
    watched.pass_time(LOST_SECONDS + 0.4)
    assert set(watched.hosts) == {HEAD}


def test_a_revoked_host_is_lost_and_an_unknown_name_changes_nothing(watched: Watched) -> None:
    watched.monitor.revoke("host1")
    assert set(watched.hosts) == {HEAD, "host2"}
    assert watched.sent == [("host1", Refused("its key was revoked"))]
    (gone,) = watched.monitor.exits()
    assert isinstance(gone, WorkerExited)
    assert gone.reason == "is gone: host1, its key was revoked"
    for name in ("host1", HEAD, "host22"):
        watched.monitor.revoke(name)
    assert list(watched.monitor.exits()) == []


def test_an_interrupted_host_with_workers_ends_the_run_and_one_without_leaves(
    watched: Watched,
) -> None:
    watched.monitor.on_goodbye("host2")
    assert watched.sent == [("host2", Leave())]
    assert list(watched.monitor.exits()) == []
    watched.monitor.on_goodbye("host1")
    text = "host1 (name1) was interrupted and leaves with layer0"
    assert list(watched.monitor.exits()) == [RunBroken(text)]
    for name in (HEAD, "host9"):
        watched.monitor.on_goodbye(name)
    assert list(watched.monitor.exits()) == []


@pytest.mark.parametrize(("status", "killed", "expected"), [(3, 0, 3), (0, 9, -9)])
def test_the_exit_of_a_worker_is_passed_on_if_it_runs_on_that_host(
    watched: Watched, status: int, killed: int, expected: int
) -> None:
    watched.monitor.on_died(Died("host2", "layer0", status, killed, "spoofed"))
    watched.monitor.on_died(Died("host1", "layer1", status, killed, "spoofed"))
    assert list(watched.monitor.exits()) == []
    watched.monitor.on_died(Died("host1", "layer0", status, killed, "the end"))
    assert list(watched.monitor.exits()) == [WorkerExited("layer0", expected, "the end")]
