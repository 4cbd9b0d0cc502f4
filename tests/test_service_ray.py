"""`dni run --engine ray` on a real Ray cluster of two nodes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from tests.dni import ENDLESS, LAYERS, PATIENCE, Dni

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a cluster of two nodes with two CPUs each."""
    pytest.importorskip("ray", reason="Ray is not installed; pip install '.[ray]'")
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    try:
        cluster.add_node(num_cpus=2)
        yield cluster.address
    finally:
        cluster.shutdown()


def agents() -> list[int]:
    """The process ids of the agents on this host that have a lifeline."""
    found = []
    for process in psutil.process_iter():
        try:
            if "--lifeline" in process.cmdline():
                found.append(process.pid)
        except (psutil.Error, OSError):
            continue
    return found


def test_three_layers_train_in_actors_and_leave_nothing(dni: Dni, address: str) -> None:
    options = ("--engine", "ray", "--address", address)
    ran = dni("run", "tiny.toml", "--run-dir", "run", *options)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "host3: " in ran.stdout
    assert "dni1:" not in ran.stdout + ran.stderr
    dni.until(lambda: not agents(), "the agents are gone")
    dni.nothing_left()


def test_agents_end_when_the_head_is_killed(dni: Dni, address: str) -> None:
    training = dni.start(*ENDLESS, "--engine", "ray", "--address", address)

    def trains() -> bool:
        assert training.process.poll() is None, training.text
        return {x["layer"] for x in training.metrics() if x.get("updates")} >= set(LAYERS)

    dni.until(trains, "every layer has made updates")
    assert len(agents()) == 3
    training.signal(signal.SIGKILL)
    training.end(PATIENCE)
    dni.until(lambda: not agents(), "the agents are gone")


def test_too_few_cpus_are_an_error_at_once(dni: Dni, address: str) -> None:
    more = '[[layer]]\nmodules = ["linear 16", "relu"]\n' * 2
    text = (dni.home / "tiny.toml").read_text("utf-8")
    (dni.home / "tiny.toml").write_text(text.replace("[[layer]]", more + "[[layer]]", 1), "utf-8")
    options = ("--engine", "ray", "--address", address)
    ran = dni("run", "tiny.toml", "--run-dir", "run", *options)
    assert ran.returncode == 2
    assert ran.stderr == "Error: ray: 5 workers, but the cluster has 4 CPUs\n"
    assert not (dni.home / "run").exists()
