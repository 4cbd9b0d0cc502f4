"""While a run on a cluster is in progress, the traces of other hosts are not reported as lost."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import cli
from coordinator.control.address import ControlAddress
from coordinator.traces.difference import differences
from coordinator.traces.find import MessageFilter, find_messages, unused_messages
from coordinator.traces.run import Traces
from coordinator.traces.stats import edge_stats
from protocol import RunError
from tests.traced import shared_run, tiny

STAGES = ("source", "layer0", "layer1", "layer2")
AWAY = [
    (("layer1",), "the traces of layer1 are on other hosts"),
    (("layer0", "layer1", "layer2"), "the traces of 3 layers are on other hosts"),
    (("source", "layer2"), "the traces of the source and layer2 are on other hosts"),
    (("source", "layer0", "layer2"), "the traces of the source and 2 layers are on other hosts"),
]


@pytest.fixture(scope="module")
def over(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has ended."""
    return shared_run(tmp_path_factory, tiny())


@pytest.fixture
def run(over: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy that looks like a run in progress on a cluster."""
    folder = tmp_path / "run"
    shutil.copytree(over, folder)
    (folder / "summary.json").unlink()
    ControlAddress.new(tmp_path, cluster=True).write(folder)
    with (folder / "metrics.jsonl").open("ab") as metrics:
        fcntl.flock(metrics, fcntl.LOCK_EX)
        yield folder


def without(run: Path, away: tuple[str, ...]) -> Path:
    """`run` without the traces of the stages `away`."""
    for stage in away:
        (run / "trace" / f"{stage}.trace").unlink()
    return run


def shown(*arguments: str | Path) -> tuple[str, str]:
    """The output and the warnings of `dni trace` with `arguments`."""
    done = CliRunner().invoke(cli.main, ["trace", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout, done.stderr


@pytest.mark.parametrize(("away", "said"), AWAY)
def test_traces_on_other_hosts_are_one_warning(run: Path, away: tuple[str, ...], said: str) -> None:
    assert Traces(without(run, away)).all_problems() == [f"{said} until the run ends"]
    for arguments in (["stats"], ["lost"], ["messages"]):
        assert shown(*arguments, run)[1] == f"warning: {said} until the run ends\n"


@pytest.mark.parametrize(("away", "said"), AWAY)
def test_value_of_a_missing_trace_is_a_dash(run: Path, away: tuple[str, ...], said: str) -> None:
    table, _ = shown("stats", without(run, away))
    for line in table.splitlines()[2:-2]:
        sender, _, receiver = line.split()[0].partition(">")
        *_, dropped, never = line.split()
        assert (line.split()[1] == "-") == (sender in away), said
        assert (never == "-") == (dropped == "-") == (sender in away or receiver in away)
    rows = json.loads(shown("stats", run, "--json")[0])
    for row in rows:
        sender, _, receiver = row["edge"].partition(">")
        assert (row["messages"] is None) == (sender in away)
        assert (row["lost"] is None) == (row["dropped"] is None)
        assert (row["lost"] is None) == bool({sender, receiver} & {*away})
        for count in row["counts"]:
            assert (count["missing"] is None) == (row["lost"] is None)


@pytest.mark.parametrize(("away", "said"), AWAY)
def test_message_to_another_host_does_not_count_as_lost(
    run: Path, away: tuple[str, ...], said: str
) -> None:
    traces = Traces(without(run, away))
    assert all(row.edge.partition(">")[2] not in away for row in unused_messages(traces)), said
    reasons = {
        e.reason
        for e in find_messages(traces, MessageFilter())[0]
        if e.edge.endswith(">layer2") and e.reason
    }
    assert reasons == (
        {"the trace of layer2 is on another host until the run ends"}
        if "layer2" in away and "layer1" not in away
        else set()
    )


def test_diff_has_no_losses_of_an_edge_with_one_trace(run: Path, over: Path) -> None:
    rows = differences(Traces(without(run, ("layer1",))), Traces(over))
    unknown = {row.edge for row in rows if row.measure == "lost" and row.a is None}
    assert unknown == {"layer0>layer1", "layer1>layer0", "layer1>layer2", "layer2>layer1"}
    assert {row.edge for row in rows if row.measure == "rate" and row.a is None} == {
        "layer1>layer0",
        "layer1>layer2",
    }


def test_missing_of_all_traces_has_the_same_text(run: Path) -> None:
    said = "holds no traces; the traces of the source and 3 layers are on other hosts until the run"
    with pytest.raises(RunError, match=said):
        Traces(without(run, STAGES))


@pytest.mark.parametrize("gone", ["control.json", "metrics.jsonl"])
def test_trace_that_is_missing_for_another_reason_is_a_problem(run: Path, gone: str) -> None:
    (run / gone).unlink()
    traces = Traces(without(run, ("layer1",)))
    assert not traces.remote_stages
    assert "layer1.trace: No such file" in traces.all_problems()[0]
    assert [str(row.edge) for row in edge_stats(traces) if not row.receiver_known] == [
        "layer0>layer1",
        "layer2>layer1",
    ]
