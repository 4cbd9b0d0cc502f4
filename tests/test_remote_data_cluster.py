"""Runs on a cluster whose data set is on another host than the head."""

from __future__ import annotations

import json
import os
import platform
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cluster_help import Cluster, assert_balanced, loopback_cluster, weights
from tests.dni import Dni
from workers.data import load

LATE = 40.0


@pytest.fixture
def cluster(dni: Dni) -> Iterator[Cluster]:
    with loopback_cluster(dni) as found:
        yield found


@pytest.fixture
def remote_folder(dni: Dni) -> Path:
    """The current folder of one host, with a copy of the digits."""
    folder = dni.home / "remote"
    folder.mkdir()
    digits: Any = load("digits", None)
    arrays = {name: getattr(digits, name) for name in ("x_train", "y_train", "x_test", "y_test")}
    np.savez(folder / "mine.npz", **arrays)
    return folder


OPTIONS = ("-o", "data.path=mine.npz", "-o", "data.host=host2")


@pytest.mark.slow
def test_the_source_runs_on_the_host_of_the_data_and_the_weights_are_those_of_a_local_run(
    dni: Dni, cluster: Cluster, remote_folder: Path
) -> None:
    options = ("-o", "train.schedule=lockstep", "-o", "train.threads=1")
    head = cluster.up(*OPTIONS, *options)
    first = cluster.join(head, "--slots", "2")
    dni.until(lambda: first.name == "host1", "the first is there")
    second = cluster.join(head, cwd=remote_folder)
    assert head.end(LATE) == 0, head.text
    assert cluster.exit_codes() == [0, 0]
    assert "source" in second.text.partition("working: ")[2]
    assert "source" not in first.text.partition("working: ")[2]
    here = dni("run", "tiny.toml", "--run-dir", "here", "-o", "data.path=remote/mine.npz", *options)
    assert here.returncode == 0, here.stderr
    assert weights(head.folder) == weights(dni.home / "here")
    (of_data,) = [line for line in head.text.splitlines() if line.startswith("data: ")]
    assert of_data.removeprefix("data: ") in here.stdout
    remote, local = (
        json.loads((dni.home / f / "summary.json").read_text()) for f in ("run", "here")
    )
    assert remote["test_error"] == local["test_error"]
    assert_balanced(head.folder)
    evaluated = dni("evaluate", "run")
    assert evaluated.returncode == 2
    assert "data.host: mine.npz is on host2" in evaluated.stderr
    local_copy = ("-o", "data.host=head", "-o", "data.path=remote/mine.npz")
    evaluated = dni("evaluate", "run", "--json", *local_copy)
    assert json.loads(evaluated.stdout)["test_error"] == remote["test_error"]
    assert dni("evaluate", "run", "-o", "train.steps=1").returncode == 2
    dni.nothing_left()


@pytest.mark.slow
def test_the_own_host_name_means_the_head(dni: Dni) -> None:
    done = dni("run", "tiny.toml", "--run-dir", "here", "-o", f"data.host={platform.node()}")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_ctrl_c_ends_the_run_while_the_source_reads(
    dni: Dni, cluster: Cluster, remote_folder: Path
) -> None:
    os.mkfifo(remote_folder / "never.npz")
    head = cluster.up("-o", "data.path=never.npz", "-o", "data.host=host1")
    host = cluster.join(head, "--slots", "3", cwd=remote_folder)
    dni.until(lambda: "host1 reads the data" in head.text, "the source reads")
    dni.until(lambda: "source" in host.workers(), "the source has started")
    began = time.monotonic()
    head.process.send_signal(signal.SIGINT)
    assert head.end(LATE) == 130
    assert time.monotonic() - began < 4.0
    assert "did not send all of its traces" not in head.text
    assert cluster.exit_codes() == [0]
    dni.nothing_left()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "exists", "reason"),
    [
        (10, False, "mine.npz: no such file"),
        (4, True, "the last layer has 4 outputs, but labels go up to 9"),
    ],
)
def test_missing_or_wrong_data_end_the_run_with_the_reason(
    dni: Dni, cluster: Cluster, remote_folder: Path, width: int, exists: bool, reason: str
) -> None:
    head = cluster.up(*OPTIONS, "-o", f'layer.2.modules=["linear {width}"]')
    for _ in range(3):
        cluster.join(head, cwd=remote_folder if exists else None)
    assert head.end(LATE) == 2, head.text
    assert reason in head.summary()["failure"]
    assert cluster.exit_codes() == [0, 0, 0]
    dni.nothing_left()


@pytest.mark.slow
def test_the_run_waits_for_the_host_of_the_data_and_names_its_dead_source(
    dni: Dni, cluster: Cluster, remote_folder: Path
) -> None:
    head = cluster.up(*OPTIONS, "-o", "train.steps=1000000000")
    cluster.join(head, "--slots", "3")
    dni.until(
        lambda: "need host2 (data.host), which is none of host1" in head.text, "the head waits"
    )
    second = cluster.join(head, cwd=remote_folder)
    dni.until(lambda: "source" in second.workers(), "the source has started")
    dni.until(lambda: head.metrics(), "the layers train")
    began = time.monotonic()
    second.workers()["source"].send_signal(signal.SIGKILL)
    dni.until(lambda: (head.folder / "summary.json").exists(), "the run is over")
    assert time.monotonic() - began < 2.0
    assert head.end(LATE) == 1
    assert head.summary()["failure"] == "source was killed by SIGKILL"
    assert cluster.exit_codes() == [0, 0]
    dni.nothing_left()
