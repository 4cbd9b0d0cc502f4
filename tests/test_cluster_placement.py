"""Which host of a cluster gets which layer, and what a run shows while it waits for hosts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from safetensors.numpy import load_file

from protocol.transport.curve import generate_keys
from tests.cluster_help import (
    BIND,
    Cluster,
    assert_balanced,
    enrol,
    loopback_cluster,
    until_learning,
    weights,
)

if TYPE_CHECKING:
    from tests.dni import Dni

pytestmark = pytest.mark.slow

LAYERS = ("layer0", "layer1", "layer2")
LATE = 40.0


@pytest.fixture
def cluster(dni: Dni) -> Iterator[Cluster]:
    with loopback_cluster(dni) as found:
        yield found


def test_a_host_gets_the_layers_that_it_prefers(cluster: Cluster) -> None:
    head = cluster.up("-o", "train.steps=1000000000")
    two = cluster.join(head, "--slots", "2", "--layers", "0,2")
    one = cluster.join(head, "--layers", "1")
    until_learning(cluster, head)
    assert set(two.workers()) == {"layer0", "layer2"}
    assert set(one.workers()) == {"layer1"}
    assert cluster.dni("stop", "run").returncode == 0
    assert head.end(LATE) == 130
    assert cluster.exit_codes() == [0, 0]


def test_fewer_workers_than_layers_share_them(dni: Dni, cluster: Cluster) -> None:
    head = cluster.up("--workers", "2")
    assert "waiting for 2 workers" in head.text
    for _ in range(2):
        cluster.join(head)
    assert head.end(LATE) == 0, head.text
    assert cluster.exit_codes() == [0, 0]
    working = {
        line for host in cluster.hosts for line in host.text.splitlines() if "working" in line
    }
    assert len(working) == 2
    assert len(weights(head.folder)) > 3
    assert_balanced(head.folder)
    dni.nothing_left()


@pytest.mark.parametrize("arguments", [("--wait", "2"), ("--joins", "1"), ("--wait", "1.5")])
def test_layers_are_spread_over_the_slots_that_joined(
    dni: Dni, cluster: Cluster, arguments: tuple[str, ...]
) -> None:
    head = cluster.up("--workers", "auto", *arguments)
    host = cluster.join(head, "--slots", "2")
    dni.until(
        lambda: "waiting" in dni("status", "run").stdout or head.metrics(), "the run is waiting"
    )
    assert head.end(LATE) == 0, head.text
    assert cluster.exit_codes() == [0]
    assert "2 of 3 slots joined: host1 (2); need 1 more" in head.text
    assert "training with 2 workers: layers share" in head.text
    assert [line for line in host.text.splitlines() if "working" in line] == [
        "working: layer0, layer1-2"
    ]
    evaluated = dni("evaluate", "run", "--json")
    assert json.loads(evaluated.stdout)["test_error"] == pytest.approx(head.summary()["test_error"])
    assert_balanced(head.folder)
    dni.nothing_left()


def test_a_waiting_run_shows_its_state_and_can_be_stopped(dni: Dni, cluster: Cluster) -> None:
    head = cluster.up()
    cluster.join(head, "--slots", "2")
    dni.until(
        lambda: "2 of 3 slots joined: host1 (2); need 1 more, or --workers 2" in head.text,
        "the head reports the host",
    )
    shown = dni("status", "run").stdout
    assert "waiting: 2 of 3 slots joined" in shown
    assert "in reserve" not in shown
    assert dni("stop", "run").returncode == 0
    assert head.end(LATE) == 130
    assert cluster.exit_codes() == [0]


@pytest.mark.parametrize("workers", ["4", "0", "many", "-1"])
def test_an_impossible_number_of_workers_is_refused(dni: Dni, workers: str) -> None:
    refused = dni("up", "tiny.toml", "--bind", BIND, "--workers", workers)
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr
    assert "--workers" in refused.stderr


def test_a_host_that_joins_late_is_in_reserve_and_in_the_status(dni: Dni, cluster: Cluster) -> None:
    head, at = cluster.train()
    late = cluster.reserve(head)
    shown = dni("status", "run", "--json")
    assert shown.returncode == 0, shown.stderr
    hosts = {host["name"]: host for host in json.loads(shown.stdout)["hosts"]}
    assert hosts[late.name]["workers"] == {}
    assert hosts["head"]["workers"] == {"source": ["source"]}
    for layer, host in at.items():
        assert hosts[host.name]["workers"] == {layer: [layer]}
        assert hosts[host.name]["silent_seconds"] < 5
        assert hosts[host.name]["address"] == "127.0.0.1"
    assert "in reserve" in head.text
    links = {row["layer"]: row["links"] for row in json.loads(shown.stdout)["stages"]}
    assert {stage: set(to) for stage, to in links.items()} == {
        "source": {"layer0"},
        "layer0": {"source", "layer1"},
        "layer1": {"layer0", "layer2"},
        "layer2": {"layer1"},
    }
    up = links["layer0"]["layer1"]
    assert up["window"] >= 4
    assert 0 < up["round_trip_ms"] < 10_000
    assert up["mb_per_second"] > 0
    table = dni("status", "run").stdout
    assert "in reserve" in table
    assert all(name in table for name in ("host1", "host2", "host3", "host4", "layer2"))
    assert dni("stop", "run").returncode == 0
    assert head.end(LATE) == 130
    assert cluster.exit_codes() == [0, 0, 0, 0]
    assert head.summary()["outcome"] == "interrupted"
    assert set(load_file(head.folder / "weights" / "layer1.safetensors"))
    dni.nothing_left()


def test_a_host_that_enrolled_and_never_connected_gets_no_layer(
    cluster: Cluster,
) -> None:
    head = cluster.up("--joins", "4")
    assert enrol(cluster, head, generate_keys()) == "host1"
    for _ in LAYERS:
        cluster.join(head)
    assert head.end(LATE) == 0, head.text
    assert cluster.exit_codes() == [0, 0, 0]
    assert "host1: " not in head.text
