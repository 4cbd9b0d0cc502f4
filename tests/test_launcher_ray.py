"""`dni run --engine ray` on a real cluster of two nodes, where Ray is installed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from tests.conftest import ENDLESS, LAYERS, PATIENCE, Dni

pytest.importorskip("ray", reason="Ray is not installed; pip install '.[ray]'")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of two nodes with two processors each."""
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    try:
        cluster.add_node(num_cpus=2)
        yield cluster.address
    finally:
        cluster.shutdown()


def agents() -> list[int]:
    """The agents on this machine that have a lifeline."""
    found = []
    for process in psutil.process_iter():
        try:
            if "--lifeline" in process.cmdline():
                found.append(process.pid)
        except (psutil.Error, OSError):
            continue
    return found


def test_three_layers_train_in_actors_and_nothing_is_left(dni: Dni, address: str) -> None:
    words = ("--engine", "ray", "--address", address)
    ran = dni("run", "tiny.toml", "--run-dir", "run", *words)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "host3: " in ran.stdout
    assert "dni1:" not in ran.stdout + ran.stderr
    dni.until(lambda: not agents(), "the agents are gone")
    dni.nothing_left()


def test_agents_end_when_the_head_is_killed(dni: Dni, address: str) -> None:
    training = dni.start(*ENDLESS, "--engine", "ray", "--address", address)

    def learns() -> bool:
        assert training.process.poll() is None, training.text
        return {x["layer"] for x in training.metrics() if x.get("updates")} >= set(LAYERS)

    dni.until(learns, "every layer has learnt something")
    assert len(agents()) == 3
    training.signal(signal.SIGKILL)
    training.end(PATIENCE)
    dni.until(lambda: not agents(), "the agents are gone")


@pytest.mark.parametrize("layers", [5])
def test_too_few_processors_are_said_at_once(dni: Dni, address: str, layers: int) -> None:
    more = '[[layer]]\nmodules = ["linear 16", "relu"]\n' * (layers - 3)
    text = (dni.home / "tiny.toml").read_text("utf-8")
    (dni.home / "tiny.toml").write_text(text.replace("[[layer]]", more + "[[layer]]", 1), "utf-8")
    words = ("--engine", "ray", "--address", address)
    ran = dni("run", "tiny.toml", "--run-dir", "run", *words)
    assert ran.returncode == 2
    assert ran.stderr == "Error: ray: 5 workers, but the cluster has 4 processors\n"
    assert not (dni.home / "run").exists()
