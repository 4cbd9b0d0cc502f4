"""`dni status` and `dni stop` reach every run: in workers, in one process, whatever it ignores."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.dni import Dni, Training

pytestmark = pytest.mark.slow

LATE = 15.0
STAGES = ["source", "layer0", "layer1", "layer2"]


def status(dni: Dni, run: str = "run") -> dict[str, Any]:
    """What `dni status` prints as JSON."""
    shown = dni("status", run, "--json")
    assert shown.returncode == 0, shown.stderr
    found: dict[str, Any] = json.loads(shown.stdout)
    return found


def learning(dni: Dni, engine: str, run_dir: str = "run") -> Training:
    """An endless run on `engine`, of which all stages have sent a report with samples."""
    training = dni.endless("--engine", engine, run_dir=run_dir)
    rows = training.metrics
    dni.until(
        lambda: {row["layer"] for row in rows() if row.get("samples_per_second")} >= {*STAGES},
        "every stage has sent a report",
    )
    return training


@pytest.mark.parametrize("engine", ["local", "inline"])
def test_a_run_on_this_host_shows_its_state_and_can_be_stopped(dni: Dni, engine: str) -> None:
    training = learning(dni, engine)
    found = status(dni)
    assert found["state"] == "training"
    assert found["steps"] == 1_000_000_000
    assert [stage["layer"] for stage in found["stages"]] == STAGES
    (host,) = found["hosts"]
    assert (host["name"], host["slots"]) == ("head", 3)
    assert host["workers"] == {stage: [stage] for stage in STAGES}
    table = dni("status", "run").stdout
    assert all(text in table for text in ("training, step", "samples/s", "staleness", "layer2"))
    assert dni("revoke", "run", "head").returncode == 2
    stopped = dni("stop", "run")
    assert (stopped.returncode, stopped.stdout) == (0, "run is stopping\n")
    assert training.end(LATE) == 130
    assert training.summary()["outcome"] == "interrupted"
    assert len(list((training.folder / "weights").iterdir())) == 3
    assert "the run is over" in dni("status", "run").stderr
    dni.nothing_left()


def test_one_of_two_runs_is_stopped_and_the_other_goes_on(dni: Dni) -> None:
    one, other = learning(dni, "inline", "one"), learning(dni, "inline", "other")
    assert dni("stop", "one").returncode == 0
    assert one.end(LATE) == 130
    assert status(dni, "other")["state"] == "training"
    assert other.process.poll() is None
    assert dni("stop", "other").returncode == 0
    assert other.end(LATE) == 130


def test_a_run_whose_coordinator_was_killed_is_over(dni: Dni) -> None:
    training = learning(dni, "local")
    training.process.kill()
    training.process.wait(LATE)
    dni.until(lambda: not dni.family(), "the workers have ended")
    for command in (("status",), ("stop",), ("revoke",)):
        host = ("host1",) if command == ("revoke",) else ()
        refused = dni(*command, "run", *host)
        assert refused.returncode == 2
        assert "the run is over; its head ended without a summary" in refused.stderr
