"""`--deterministic` makes a run repeatable bit for bit, and its help says why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

import cli
from coordinator.commands.options import with_options
from protocol import read_pipeline
from tests.cluster_help import loopback_cluster

if TYPE_CHECKING:
    from tests.dni import Dni

LOCKSTEP = "train.schedule=lockstep"


@pytest.mark.parametrize(
    ("overrides", "deterministic", "trace", "wanted"),
    [
        ((), False, None, ()),
        (("rule=dni",), True, None, ("rule=dni", LOCKSTEP)),
        (
            ("train.schedule=async",),
            True,
            "off",
            ("train.schedule=async", "trace.mode=off", LOCKSTEP),
        ),
    ],
)
def test_the_option_overrides_the_schedule(
    overrides: tuple[str, ...], deterministic: bool, trace: str | None, wanted: tuple[str, ...]
) -> None:
    assert with_options(overrides, deterministic, trace) == wanted


@pytest.mark.parametrize("command", ["run", "up", "compare"])
def test_every_command_that_trains_has_the_option_with_its_reason(command: str) -> None:
    text = " ".join(CliRunner().invoke(cli.main, [command, "--help"]).stdout.split())
    assert "--deterministic Train in lockstep (train.schedule=lockstep): slower" in text
    assert "the same seed gives the same result. Without it each run differs slightly." in text


def weights(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "weights").iterdir()}


@pytest.mark.slow
def test_two_deterministic_runs_leave_the_same_files(dni: Dni) -> None:
    for name in ("one", "two"):
        ran = dni("run", "tiny.toml", "--deterministic", "--run-dir", name)
        assert ran.returncode == 0, ran.stderr
    assert len(weights(dni.home / "one")) == 3
    assert weights(dni.home / "one") == weights(dni.home / "two")


@pytest.mark.slow
def test_a_comparison_and_a_cluster_run_in_lockstep_with_the_option(dni: Dni) -> None:
    arguments = ("--rules", "cdni", "--seeds", "1", "--engine", "inline", "--out", "out")
    compared = dni("compare", "tiny.toml", "--deterministic", *arguments)
    assert compared.returncode == 0, compared.stderr
    with loopback_cluster(dni) as cluster:
        head = cluster.up("--deterministic", "--workers", "1")
        cluster.join(head)
        assert head.end(40.0) == 0, head.text
    (run,) = (dni.home / "out").glob("*/pipeline.toml")
    for pipeline in (run, head.folder / "pipeline.toml"):
        assert read_pipeline(pipeline).train.schedule == "lockstep"
