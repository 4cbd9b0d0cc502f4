"""Training on a cluster leaves the same files and weights as training on one host."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load_file

from coordinator.traces.message_accounting import edge_counts
from coordinator.traces.run import Traces
from protocol.transport.curve import generate_keys
from tests.cluster_help import (
    BIND,
    Cluster,
    enrol,
    loopback_cluster,
    status_hosts,
    until_learning,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Dni

pytestmark = pytest.mark.slow

LAYERS = ("layer0", "layer1", "layer2")
LATE = 40.0


@pytest.fixture
def cluster(dni: Dni) -> Iterator[Cluster]:
    with loopback_cluster(dni) as found:
        yield found


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def weights(folder: Path) -> dict[str, bytes]:
    return {
        f"{name}.{key}": array.tobytes()
        for name in LAYERS
        for key, array in load_file(folder / "weights" / f"{name}.safetensors").items()
    }


def balanced(folder: Path) -> None:
    """Both ends of every edge account for every message."""
    traces = Traces(folder)
    assert set(traces.files) == {"source", *LAYERS}
    found = edge_counts(traces)
    assert {str(counts.edge) for counts in found} == {str(edge) for edge in traces.edges}
    for counts in found:
        assert counts.balanced, counts
        assert not (counts.kind == "activation" and counts.lost_messages), counts


def test_three_hosts_leave_the_files_of_a_local_run(dni: Dni, cluster: Cluster) -> None:
    head = cluster.up()
    for _ in LAYERS:
        cluster.join(head)
    assert head.end(LATE) == 0, head.text
    assert cluster.exit_codes() == [0, 0, 0]
    assert dni("run", "tiny.toml", "--run-dir", "local").returncode == 0
    local = dni.home / "local"
    assert files(head.folder) == files(local)
    summary, there = head.summary(), json.loads((local / "summary.json").read_text("utf-8"))
    assert summary.keys() == there.keys()
    assert (summary["outcome"], summary["steps"]) == ("completed", 40)
    assert weights(head.folder).keys() == weights(local).keys()
    evaluated = dni("evaluate", "run", "--json")
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads(evaluated.stdout)["test_error"] == pytest.approx(summary["test_error"])
    balanced(head.folder)
    dni.nothing_left()


@pytest.mark.parametrize("rule", ["cdni", "unlocked-cdni"])
def test_in_lockstep_a_cluster_learns_the_same_bits_as_one_process(
    dni: Dni, cluster: Cluster, rule: str
) -> None:
    arguments = ("-o", "train.schedule=lockstep", "-o", f"rule={rule}", "-o", "train.threads=1")
    head = cluster.up(*arguments)
    cluster.join(head, "--slots", "2", "--layers", "0,2")
    cluster.join(head)
    assert head.end(LATE) == 0, head.text
    assert cluster.exit_codes() == [0, 0]
    inline = dni("run", "tiny.toml", "--run-dir", "inline", "--engine", "inline", *arguments)
    assert inline.returncode == 0, inline.stderr
    assert weights(head.folder) == weights(dni.home / "inline")
    assert all(
        np.isfinite(a).all() for a in load_file(head.folder / "weights/layer1.safetensors").values()
    )


def test_without_encryption_the_weights_are_the_same_and_all_hosts_warn(
    dni: Dni, cluster: Cluster
) -> None:
    arguments = ("-o", "train.schedule=lockstep", "-o", "train.threads=1")
    head = cluster.up("--insecure", *arguments)
    host = cluster.join(head, "--slots", "3")
    assert head.end(LATE) == 0, head.text
    assert cluster.exit_codes() == [0]
    for text in (head.text, host.text):
        assert "INSECURE: nothing of this run is encrypted" in text
    inline = dni("run", "tiny.toml", "--run-dir", "inline", "--engine", "inline", *arguments)
    assert inline.returncode == 0, inline.stderr
    assert weights(head.folder) == weights(dni.home / "inline")
    dni.nothing_left()


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
    balanced(head.folder)
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
    balanced(head.folder)
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


def test_agents_on_one_host_have_one_clock(cluster: Cluster) -> None:
    head = cluster.up()
    for _ in LAYERS:
        cluster.join(head)
    assert head.end(LATE) == 0, head.text
    traces = Traces(head.folder)
    for stage in ("source", *LAYERS):
        assert (traces.files[stage].metadata.bound_ns, traces.files[stage].metadata.offset_ns) == (
            0,
            0,
        )
    assert all(traces.bound(edge) == 0 for edge in traces.edges)


@pytest.mark.parametrize("command", ["status", "stop", "revoke"])
def test_a_run_that_is_over_is_neither_shown_nor_stopped(
    dni: Dni, cluster: Cluster, command: str
) -> None:
    name = ("host1",) if command == "revoke" else ()
    assert dni("run", "tiny.toml", "--run-dir", "local").returncode == 0
    refused = dni(command, "local", *name)
    assert refused.returncode == 2
    assert "the run is over" in refused.stderr
    head = cluster.up("--workers", "1")
    cluster.join(head)
    assert head.end(LATE) == 0, head.text
    refused = dni(command, "run", *name)
    assert refused.returncode == 2
    assert "the run is over" in refused.stderr
    refused = dni(command, "nowhere", *name)
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("bind", "reason"),
    [
        ("127.0.0.1:5701", "not tcp://ADDRESS:PORT"),
        ("ipc:///tmp/x", "not tcp://ADDRESS:PORT"),
        ("tcp://0.0.0.0:*", "every address"),
        ("tcp://*:5701", "every address"),
        ("tcp://203.0.113.7:*", "203.0.113.7"),
        ("tcp://127.0.0.1:99999", "port must be a number up to 65535"),
    ],
)
def test_an_address_that_cannot_be_bound_is_refused_in_one_line(
    dni: Dni, bind: str, reason: str
) -> None:
    refused = dni("up", "tiny.toml", "--bind", bind)
    assert refused.returncode == 2
    assert reason in refused.stdout + refused.stderr
    assert "Traceback" not in refused.stderr
    dni.nothing_left()


def test_the_control_file_of_an_earlier_run_is_replaced_and_none_is_left(
    dni: Dni, cluster: Cluster
) -> None:
    (dni.home / "run").mkdir()
    for name in ("pipeline.toml", "control.json"):
        (dni.home / "run" / name).write_text("", "utf-8")
    head = cluster.up("--force", "--workers", "1")
    dni.until(lambda: set(status_hosts(head)) == {"head"}, "the new run answers")
    cluster.join(head)
    assert head.end(LATE) == 0, head.text
    assert not (head.folder / "control.json").exists()


def test_the_head_alone_prints_the_token_and_only_once(dni: Dni, cluster: Cluster) -> None:
    head = cluster.up("--workers", "1")
    cluster.join(head)
    assert head.end(LATE) == 0
    assert cluster.exit_codes() == [0]
    assert head.text.count("dni1:") == 1
    assert "dni1:" not in cluster.hosts[0].text
    assert BIND.rpartition(":")[0] in cluster.hosts[0].text
    for path in head.folder.rglob("*"):
        assert path.is_dir() or b"dni1:" not in path.read_bytes()
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
