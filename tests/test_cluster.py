"""Training on a cluster leaves the same files and weights as training on one host."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load_file

from coordinator.traces.run import Traces
from tests.cluster_help import (
    BIND,
    Cluster,
    assert_balanced,
    loopback_cluster,
    status_hosts,
    weights,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.dni import Dni

pytestmark = pytest.mark.slow

LAYERS = ("layer0", "layer1", "layer2")
LATE = 40.0


@pytest.fixture
def cluster(dni: Dni) -> Iterator[Cluster]:
    with loopback_cluster(dni) as found:
        yield found


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


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
    assert_balanced(head.folder)
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
        assert "INSECURE: this run is not encrypted" in text
    inline = dni("run", "tiny.toml", "--run-dir", "inline", "--engine", "inline", *arguments)
    assert inline.returncode == 0, inline.stderr
    assert weights(head.folder) == weights(dni.home / "inline")
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
