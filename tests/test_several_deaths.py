"""Whoever dies or leaves, on whatever machine: the run ends soon and says who; nothing is left."""

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

from tests.several_help import Several, machines

if TYPE_CHECKING:
    from tests.conftest import Dni, Training

pytestmark = pytest.mark.slow

LATE = 25.0


@pytest.fixture
def several(dni: Dni) -> Iterator[Several]:
    with machines(dni) as found:
        yield found


def saved(head: Training) -> set[str]:
    """The layers of which there are weights that can be read."""
    paths = list((head.folder / "weights").iterdir())
    assert all(load_file(path) for path in paths)
    return {path.name.partition(".")[0] for path in paths}


def over(dni: Dni, head: Training, outcome: str, *but: str) -> None:
    """The run says how it ended, what could be saved is, and nothing is left of it."""
    summary = head.summary()
    assert summary["outcome"] == outcome, head.text
    assert "Traceback" not in head.text
    assert saved(head) == {"layer0", "layer1", "layer2"} - set(but)
    dni.until(lambda: not dni.processes(), "all have gone")
    dni.nothing_left()


def test_the_death_of_a_machine_is_noticed_and_named_and_its_workers_go_too(
    dni: Dni, several: Several
) -> None:
    head, at = several.train()
    victim, worker = at["layer1"], at["layer1"].workers()["layer1"]
    began = time.monotonic()
    victim.process.kill()
    dni.until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, "gone")
    assert time.monotonic() - began < 1.5
    assert head.end(LATE) == 1
    assert time.monotonic() - began < 9.0
    assert f"layer1 is gone: {victim.name}" in head.summary()["failure"]
    assert f"{victim.name} (" in head.text
    several.ends()
    over(dni, head, "failed", "layer1")


def test_the_death_of_a_worker_is_noticed_within_a_second_and_named(
    dni: Dni, several: Several
) -> None:
    head, at = several.train()
    began = time.monotonic()
    at["layer1"].workers()["layer1"].kill()
    dni.until(lambda: (head.folder / "summary.json").exists(), "the run is over")
    assert time.monotonic() - began < 1.5
    assert head.end(LATE) == 1
    assert head.summary()["failure"] == "layer1 was killed by SIGKILL"
    assert several.ends() == [0, 0, 0]
    assert (head.folder / "trace" / "layer1.trace").exists()
    over(dni, head, "failed", "layer1")


def test_all_go_by_themselves_when_the_head_is_killed(dni: Dni, several: Several) -> None:
    head, _ = several.train()
    head.process.kill()
    head.process.wait(LATE)
    assert several.ends() == [1, 1, 1]
    for machine in several.machines:
        assert "nothing was heard of the head for 10 s" in machine.text
        assert "Traceback" not in machine.text
    dni.until(lambda: not dni.processes(), "all have gone")
    dni.nothing_left()


def test_ctrl_c_at_the_head_saves_the_weights_and_lets_all_go(dni: Dni, several: Several) -> None:
    head, _ = several.train()
    began = time.monotonic()
    os.killpg(head.process.pid, signal.SIGINT)
    assert head.end(LATE) == 130
    assert time.monotonic() - began < 3.0
    assert several.ends() == [0, 0, 0]
    assert {path.name for path in (head.folder / "trace").iterdir()} == {
        f"{core}.trace" for core in ("source", "layer0", "layer1", "layer2")
    }
    over(dni, head, "interrupted")
    assert dni("evaluate", "run").returncode == 0


def test_ctrl_c_while_waiting_for_hosts_ends_a_run_that_never_began_and_keeps_nothing(
    dni: Dni, several: Several
) -> None:
    head = several.up()
    machine = several.join(head)
    dni.until(lambda: "host1: " in head.text, "one is there")
    head.signal(signal.SIGINT)
    assert head.end(LATE) == 130
    assert machine.process.wait(LATE) == 0
    assert "Traceback" not in head.text + machine.text
    assert "interrupted before training began: nothing is kept" in head.text
    assert not head.folder.exists()
    dni.until(lambda: not dni.processes(), "all have gone")
    dni.nothing_left()


def test_ctrl_c_while_workers_start_does_not_wait_for_them(dni: Dni, several: Several) -> None:
    head = several.up()
    for _ in range(3):
        several.join(head)
    dni.until(lambda: any(machine.workers() for machine in several.machines), "a worker starts")
    began = time.monotonic()
    head.signal(signal.SIGINT)
    assert head.end(LATE) == 130
    assert time.monotonic() - began < 5.0
    assert several.ends() == [0, 0, 0]
    assert "did not bring home" not in head.text
    over(dni, head, "interrupted", "layer0", "layer1", "layer2")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_host_hands_in_its_weights_and_the_run_ends(
    dni: Dni, several: Several, number: signal.Signals
) -> None:
    head, at = several.train()
    victim = at["layer2"]
    began = time.monotonic()
    os.killpg(victim.process.pid, number)
    assert victim.process.wait(LATE) == 128 + number
    assert head.end(LATE) == 1
    assert time.monotonic() - began < 5.0
    left = f"{victim.name} ({platform.node()}) was interrupted and leaves with layer2"
    assert head.summary()["failure"] == left
    assert "interrupted: handing in layer2; Ctrl-C again leaves at once" in victim.text
    assert sorted(several.ends()) == [0, 0, 128 + number]
    assert (head.folder / "trace" / "layer2.trace").exists()
    over(dni, head, "failed")


def test_a_host_that_is_interrupted_twice_leaves_at_once(dni: Dni, several: Several) -> None:
    head, at = several.train()
    victim = at["layer2"]
    os.kill(head.process.pid, signal.SIGSTOP)
    began = time.monotonic()
    victim.process.send_signal(signal.SIGINT)
    dni.until(lambda: "interrupted: handing in layer2" in victim.text, "it has heard that")
    victim.process.send_signal(signal.SIGINT)
    assert victim.process.wait(LATE) == 130
    assert time.monotonic() - began < 8.0
    os.kill(head.process.pid, signal.SIGCONT)
    assert head.end(LATE) == 1
    several.ends()
    over(dni, head, "failed", "layer2")


def test_a_host_in_reserve_that_is_interrupted_leaves_and_the_run_goes_on(
    dni: Dni, several: Several
) -> None:
    head, _ = several.train()
    late = several.reserve(head)
    late.process.send_signal(signal.SIGINT)
    assert late.process.wait(LATE) == 130
    dni.until(lambda: f"{late.name} ({platform.node()}) has left" in head.text, "it is said")
    assert head.process.poll() is None
    assert dni("stop", "run").returncode == 0
    assert head.end(LATE) == 130
    several.ends()
    over(dni, head, "interrupted")


def test_a_host_that_is_interrupted_while_others_are_waited_for_makes_room(
    dni: Dni, several: Several
) -> None:
    head = several.up()
    first = several.join(head, "--slots", "2")
    dni.until(lambda: "2 of 3 slots joined: host1 (2); need 1 more" in head.text, "it has come")
    first.process.send_signal(signal.SIGINT)
    assert first.process.wait(LATE) == 130
    dni.until(lambda: "0 of 3 slots joined; need 3 more" in head.text, "it has gone")
    several.join(head, "--slots", "3")
    assert head.end(LATE) == 0, head.text
    several.ends()
    over(dni, head, "completed")


def test_a_reserve_that_goes_does_not_disturb(dni: Dni, several: Several) -> None:
    head, _ = several.train()
    late = several.reserve(head)
    late.process.kill()
    dni.until(lambda: f"{late.name} (" in head.text, "the head has noticed")
    assert "is out: nothing was heard of it for 5 s" in head.text
    assert dni("stop", "run").returncode == 0
    assert head.end(LATE) == 130
    assert several.ends()[:3] == [0, 0, 0]
    over(dni, head, "interrupted")


def test_a_head_that_was_held_up_does_not_take_its_machines_for_dead(
    dni: Dni, several: Several
) -> None:
    head, at = several.train()
    os.kill(head.process.pid, signal.SIGSTOP)
    began = time.monotonic()
    dni.until(lambda: time.monotonic() - began > 6.0, "more time has passed than one may be silent")
    os.kill(head.process.pid, signal.SIGCONT)
    before = len(head.metrics())
    dni.until(lambda: len(head.metrics()) > before + 8, "it goes on")
    assert head.process.poll() is None, head.text
    assert dni("stop", "run").returncode == 0
    assert head.end(LATE) == 130
    assert all(machine.process.wait(LATE) == 0 for machine in at.values())
    over(dni, head, "interrupted")


SLOW_TO_START = """
import time
if worker == "layer1":
    time.sleep(7)
"""


def test_a_worker_that_takes_long_to_start_does_not_cost_its_machine_its_place(
    dni: Dni, several: Several
) -> None:
    dni.environment |= dni.sitecustomize(SLOW_TO_START)
    head = several.up()
    for _ in range(3):
        several.join(head)
    began = time.monotonic()
    assert head.end(LATE) == 0, head.text
    assert time.monotonic() - began > 6.0
    assert several.ends() == [0, 0, 0]
    assert "is out" not in head.text
    over(dni, head, "completed")
