"""When a process of a cluster dies or leaves, the run ends soon, names it, and leaves nothing."""

from __future__ import annotations

import os
import platform
import signal
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import psutil
import pytest
from safetensors.numpy import load_file

from tests.cluster_help import Cluster, loopback_cluster
from tests.forked import AGENT, HEAD

if TYPE_CHECKING:
    from tests.dni import Dni, Training

pytestmark = pytest.mark.slow

LATE = 25.0


@pytest.fixture
def cluster(dni: Dni) -> Iterator[Cluster]:
    with loopback_cluster(dni) as found:
        yield found


def saved(head: Training) -> set[str]:
    """The layers whose weights can be read."""
    paths = list((head.folder / "weights").iterdir())
    assert all(load_file(path) for path in paths)
    return {path.name.partition(".")[0] for path in paths}


def assert_ended(dni: Dni, head: Training, outcome: str, *but: str) -> None:
    """The run has this outcome, the weights of all layers `but` these, and leaves nothing."""
    summary = head.summary()
    assert summary["outcome"] == outcome, head.text
    assert "Traceback" not in head.text
    assert saved(head) == {"layer0", "layer1", "layer2"} - set(but)
    dni.until(lambda: not dni.processes(), "all processes have ended")
    dni.nothing_left()


def test_the_death_of_an_agent_ends_its_workers_and_the_run_and_is_named(
    dni: Dni, cluster: Cluster
) -> None:
    dni.limits[HEAD] = {"lost_seconds": 1.0}
    head, at = cluster.train()
    victim, worker = at["layer1"], at["layer1"].workers()["layer1"]
    began = time.monotonic()
    victim.process.kill()
    dni.until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, "gone")
    assert time.monotonic() - began < 1.5
    assert head.end(LATE) == 1
    assert time.monotonic() - began < 5.0
    assert f"layer1 is gone: {victim.name}" in head.summary()["failure"]
    assert f"{victim.name} (" in head.text
    cluster.exit_codes()
    assert_ended(dni, head, "failed", "layer1")


def test_the_death_of_a_worker_ends_the_run_within_a_second_and_is_named(
    dni: Dni, cluster: Cluster
) -> None:
    head, at = cluster.train()
    began = time.monotonic()
    at["layer1"].workers()["layer1"].kill()
    dni.until(lambda: (head.folder / "summary.json").exists(), "the run is over")
    assert time.monotonic() - began < 1.5
    assert head.end(LATE) == 1
    assert head.summary()["failure"] == "layer1 was killed by SIGKILL"
    assert cluster.exit_codes() == [0, 0, 0]
    assert (head.folder / "trace" / "layer1.trace").exists()
    assert_ended(dni, head, "failed", "layer1")


def test_all_agents_end_when_the_head_is_killed(dni: Dni, cluster: Cluster) -> None:
    dni.limits[AGENT] = {"lost_seconds": 1.0}
    head, _ = cluster.train()
    head.process.kill()
    head.process.wait(LATE)
    assert cluster.exit_codes() == [1, 1, 1]
    for host in cluster.hosts:
        assert "no message from the head for 1 s" in host.text
        assert "Traceback" not in host.text
    dni.until(lambda: not dni.processes(), "all processes have ended")
    dni.nothing_left()


def test_ctrl_c_at_the_head_saves_the_weights_and_ends_all_agents(
    dni: Dni, cluster: Cluster
) -> None:
    head, _ = cluster.train()
    began = time.monotonic()
    os.killpg(head.process.pid, signal.SIGINT)
    assert head.end(LATE) == 130
    assert time.monotonic() - began < 3.0
    assert cluster.exit_codes() == [0, 0, 0]
    assert {path.name for path in (head.folder / "trace").iterdir()} == {
        f"{stage}.trace" for stage in ("source", "layer0", "layer1", "layer2")
    }
    assert_ended(dni, head, "interrupted")
    assert dni("evaluate", "run").returncode == 0


def test_ctrl_c_while_waiting_for_hosts_ends_the_run_and_keeps_nothing(
    dni: Dni, cluster: Cluster
) -> None:
    head = cluster.up()
    host = cluster.join(head)
    dni.until(lambda: "host1: " in head.text, "it has joined")
    head.signal(signal.SIGINT)
    assert head.end(LATE) == 130
    assert host.process.wait(LATE) == 0
    assert "Traceback" not in head.text + host.text
    assert "interrupted before training began; no files were kept" in head.text
    assert not head.folder.exists()
    dni.until(lambda: not dni.processes(), "all processes have ended")
    dni.nothing_left()


def test_ctrl_c_while_workers_start_does_not_wait_for_them(dni: Dni, cluster: Cluster) -> None:
    head = cluster.up()
    for _ in range(3):
        cluster.join(head)
    dni.until(lambda: any(host.workers() for host in cluster.hosts), "a worker starts")
    began = time.monotonic()
    head.signal(signal.SIGINT)
    assert head.end(LATE) == 130
    assert time.monotonic() - began < 5.0
    assert cluster.exit_codes() == [0, 0, 0]
    assert "did not send all of its traces" not in head.text
    assert_ended(dni, head, "interrupted", "layer0", "layer1", "layer2")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_host_sends_its_weights_and_the_run_ends(
    dni: Dni, cluster: Cluster, number: signal.Signals
) -> None:
    head, at = cluster.train()
    victim = at["layer2"]
    began = time.monotonic()
    os.killpg(victim.process.pid, number)
    assert victim.process.wait(LATE) == 128 + number
    assert head.end(LATE) == 1
    assert time.monotonic() - began < 5.0
    left = f"{victim.name} ({platform.node()}) was interrupted and leaves with layer2"
    assert head.summary()["failure"] == left
    assert "interrupted: sending the weights of layer2; Ctrl-C again leaves at once" in victim.text
    assert sorted(cluster.exit_codes()) == [0, 0, 128 + number]
    assert (head.folder / "trace" / "layer2.trace").exists()
    assert_ended(dni, head, "failed")


def test_a_host_that_is_interrupted_twice_leaves_at_once(dni: Dni, cluster: Cluster) -> None:
    head, at = cluster.train()
    victim = at["layer2"]
    os.kill(head.process.pid, signal.SIGSTOP)
    began = time.monotonic()
    victim.process.send_signal(signal.SIGINT)
    dni.until(
        lambda: "interrupted: sending the weights of layer2" in victim.text, "it has the signal"
    )
    victim.process.send_signal(signal.SIGINT)
    assert victim.process.wait(LATE) == 130
    assert time.monotonic() - began < 8.0
    os.kill(head.process.pid, signal.SIGCONT)
    assert head.end(LATE) == 1
    cluster.exit_codes()
    assert_ended(dni, head, "failed", "layer2")


def test_a_host_in_reserve_that_is_interrupted_leaves_and_the_run_goes_on(
    dni: Dni, cluster: Cluster
) -> None:
    head, _ = cluster.train()
    late = cluster.reserve(head)
    late.process.send_signal(signal.SIGINT)
    assert late.process.wait(LATE) == 130
    dni.until(lambda: f"{late.name} ({platform.node()}) has left" in head.text, "that is reported")
    assert head.process.poll() is None
    assert dni("stop", "run").returncode == 0
    assert head.end(LATE) == 130
    cluster.exit_codes()
    assert_ended(dni, head, "interrupted")


def test_a_host_that_is_interrupted_during_the_wait_for_hosts_gives_back_its_slots(
    dni: Dni, cluster: Cluster
) -> None:
    head = cluster.up()
    first = cluster.join(head, "--slots", "2")
    dni.until(
        lambda: "2 of 3 slots joined: host1 (2); need 1 more" in head.text, "the host has joined"
    )
    first.process.send_signal(signal.SIGINT)
    assert first.process.wait(LATE) == 130
    dni.until(lambda: "0 of 3 slots joined; need 3 more" in head.text, "the host has left")
    cluster.join(head, "--slots", "3")
    assert head.end(LATE) == 0, head.text
    cluster.exit_codes()
    assert_ended(dni, head, "completed")


def test_a_host_in_reserve_that_dies_does_no_harm(dni: Dni, cluster: Cluster) -> None:
    dni.limits[HEAD] = {"lost_seconds": 1.0}
    head, _ = cluster.train()
    late = cluster.reserve(head)
    late.process.kill()
    dni.until(lambda: f"{late.name} (" in head.text, "the head reports the loss")
    assert "is out: no message for 1 s" in head.text
    assert dni("stop", "run").returncode == 0
    assert head.end(LATE) == 130
    assert cluster.exit_codes()[:3] == [0, 0, 0]
    assert_ended(dni, head, "interrupted")


def test_a_head_that_was_suspended_keeps_its_hosts(dni: Dni, cluster: Cluster) -> None:
    dni.limits[HEAD] = {"lost_seconds": 2.0}
    head, at = cluster.train()
    os.kill(head.process.pid, signal.SIGSTOP)
    began = time.monotonic()
    dni.until(lambda: time.monotonic() - began > 3.0, "more time than the limit has passed")
    os.kill(head.process.pid, signal.SIGCONT)
    before = len(head.metrics())
    dni.until(lambda: len(head.metrics()) > before + 8, "training goes on")
    assert head.process.poll() is None, head.text
    assert dni("stop", "run").returncode == 0
    assert head.end(LATE) == 130
    assert all(host.process.wait(LATE) == 0 for host in at.values())
    assert_ended(dni, head, "interrupted")


SLOW_TO_START = """
import time
if worker == "layer1":
    time.sleep(7)
"""


def test_a_host_keeps_its_place_while_its_worker_takes_long_to_start(
    dni: Dni, cluster: Cluster
) -> None:
    dni.environment |= dni.sitecustomize(SLOW_TO_START)
    head = cluster.up()
    for _ in range(3):
        cluster.join(head)
    began = time.monotonic()
    assert head.end(LATE) == 0, head.text
    assert time.monotonic() - began > 6.0
    assert cluster.exit_codes() == [0, 0, 0]
    assert "is out" not in head.text
    assert_ended(dni, head, "completed")
