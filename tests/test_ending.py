"""A run ends soon, gives the reason, saves the weights and leaves no process or file behind."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load_file

if TYPE_CHECKING:
    from tests.dni import Dni, Training

pytestmark = pytest.mark.slow

LAYERS = ("layer0", "layer1", "layer2")
WORKERS = ("source", *LAYERS)
LATE = 15.0


def weights(training: Training, *names: str) -> None:
    """The layers `names`, and no others, left weights that can be loaded and are finite."""
    folder = training.folder / "weights"
    assert {path.name for path in folder.iterdir()} == {f"{name}.safetensors" for name in names}
    for name in names:
        arrays = load_file(folder / f"{name}.safetensors")
        assert arrays
        for key, array in arrays.items():
            assert np.isfinite(array).all(), key


def ended(dni: Dni, training: Training, outcome: str) -> None:
    """The run reports `outcome`, prints no traceback, and leaves nothing."""
    assert training.summary()["outcome"] == outcome
    assert outcome in training.text
    assert "Traceback" not in training.text
    dni.nothing_left()


def as_terminal(training: Training) -> None:
    """Send SIGINT to every process of the group, as Ctrl-C in a terminal does."""
    os.killpg(training.process.pid, signal.SIGINT)


# -- interrupts


@pytest.mark.parametrize("group", [False, True], ids=["process", "group"])
def test_ctrl_c_ends_a_run_within_two_seconds_with_weights_that_can_be_evaluated(
    dni: Dni, group: bool
) -> None:
    training = dni.train()
    began = time.monotonic()
    if group:
        as_terminal(training)
    else:
        training.signal(signal.SIGINT)
    assert training.end(LATE) == 130
    assert time.monotonic() - began < 2.0
    ended(dni, training, "interrupted")
    weights(training, *LAYERS)
    evaluated = dni("evaluate", "run")
    assert evaluated.returncode == 0
    assert "test error" in evaluated.stdout
    assert training.summary()["steps"] > 0


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["SIGTERM", "SIGHUP"]
)
def test_sigterm_and_sighup_end_a_run_as_ctrl_c_does(
    dni: Dni, number: signal.Signals, status: int
) -> None:
    training = dni.train()
    began = time.monotonic()
    training.signal(number)
    assert training.end(LATE) == status
    assert time.monotonic() - began < 2.0
    ended(dni, training, "interrupted")
    weights(training, *LAYERS)


def test_ctrl_c_ends_an_inline_run(dni: Dni) -> None:
    training = dni.endless("--engine", "inline")
    dni.until(lambda: any(line.get("updates") for line in training.metrics()), "it learns")
    began = time.monotonic()
    training.signal(signal.SIGINT)
    assert training.end(LATE) == 130
    assert time.monotonic() - began < 2.0
    ended(dni, training, "interrupted")
    weights(training, *LAYERS)


@pytest.mark.parametrize("moment", ["folder", "sockets", "first worker", "all workers"])
def test_ctrl_c_while_a_run_starts_leaves_nothing(dni: Dni, moment: str) -> None:
    training = dni.endless()

    def come() -> bool:
        training.find_family()
        return {
            "folder": training.folder.exists(),
            "sockets": bool(dni.sockets()),
            "first worker": bool(training.family),
            "all workers": set(training.family) == set(WORKERS),
        }[moment]

    dni.until(come, moment)
    assert not any(line.get("updates") for line in training.metrics())
    began = time.monotonic()
    as_terminal(training)
    assert training.end(LATE) == 130
    assert time.monotonic() - began < 2.0
    assert "Traceback" not in training.text
    dni.nothing_left()
    if training.folder.exists():
        ended(dni, training, "interrupted")
    else:
        assert moment in ("folder", "sockets")
        assert "interrupted before training began; no files were kept" in training.text


def test_a_second_ctrl_c_does_no_harm(dni: Dni) -> None:
    training = dni.train()
    as_terminal(training)
    dni.until(
        lambda: any((training.folder / "weights").iterdir()) or training.process.poll() is not None,
        "the first weights are saved",
    )
    as_terminal(training)
    assert training.end(2.0) == 130
    ended(dni, training, "interrupted")


def test_a_suspended_worker_does_not_delay_the_end_after_ctrl_c(dni: Dni) -> None:
    training = dni.train()
    training.family["layer1"].suspend()
    began = time.monotonic()
    training.signal(signal.SIGINT)
    assert training.end(LATE) == 130
    assert time.monotonic() - began < 3.0
    ended(dni, training, "interrupted")
    weights(training, "layer0", "layer2")


# -- deaths


@pytest.mark.parametrize("victim", WORKERS)
def test_the_death_of_a_worker_ends_the_run_within_a_second_and_is_named(
    dni: Dni, victim: str
) -> None:
    training = dni.train()
    began = time.monotonic()
    training.family[victim].kill()
    assert training.end(LATE) == 1
    assert time.monotonic() - began < 1.0
    assert f"{victim} was killed by SIGKILL" in training.text
    ended(dni, training, "failed")
    assert training.summary()["failure"] == f"{victim} was killed by SIGKILL"
    weights(training, *(name for name in LAYERS if name != victim))


def test_the_death_of_a_worker_while_the_run_starts_is_named(dni: Dni) -> None:
    training = dni.endless()
    dni.until(training.find_family, "all workers have started")
    training.family["layer1"].kill()
    assert training.end(LATE) == 1
    assert "layer1 was killed by SIGKILL" in training.text
    ended(dni, training, "failed")


def test_two_deaths_at_once_end_the_run_as_one_does(dni: Dni) -> None:
    training = dni.train()
    for victim in ("layer0", "layer2"):
        training.family[victim].kill()
    assert training.end(LATE) == 1
    assert "was killed by SIGKILL" in training.text
    ended(dni, training, "failed")
    weights(training, "layer1")


def test_workers_end_within_a_second_after_the_coordinator_is_killed(dni: Dni) -> None:
    training = dni.train()
    assert dni.sockets()
    training.process.kill()
    began = time.monotonic()
    training.process.wait(LATE)
    dni.until(lambda: not dni.family(), "all workers have ended")
    assert time.monotonic() - began < 1.0
    dni.nothing_left()


def test_workers_end_if_the_coordinator_is_killed_while_they_start(dni: Dni) -> None:
    training = dni.endless()
    dni.until(lambda: training.find_family() or training.family, "a worker has started")
    training.process.kill()
    training.process.wait(LATE)
    dni.until(lambda: not dni.processes() and not dni.family(), "all workers have ended")
    dni.nothing_left()


# -- socket folders of other runs


def test_a_run_removes_socket_folders_of_dead_processes_and_no_others(dni: Dni) -> None:
    dead, alive, other = (
        dni.base / name for name in ("dni-1-abcdefgh", "dni-2-abcdefgh", "dni-notes")
    )
    for folder in (dead, alive, other):
        folder.mkdir(0o700)
        (folder / "control").touch()
    (dead / "lock").touch()
    with (alive / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert dni("run", "tiny.toml", "--run-dir", "run").returncode == 0
    assert (alive / "control").exists()
    assert (other / "control").exists()
    dni.nothing_left(alive, other)
