"""The commands of `dni trace` show the recorded messages; a mistake of the user is one line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

import cli
from tests.dni import Dni as Command
from tests.forked import CommandProcess
from tests.test_commands import mistake
from tests.traced import shared_run, tiny

if TYPE_CHECKING:
    from tests.dni import Dni

EDGES = {
    *("source>layer0", "layer0>layer1", "layer1>layer2"),
    *("layer0>source", "layer1>layer0", "layer2>layer1"),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 40 batches that has ended."""
    return shared_run(tmp_path_factory, tiny())


@pytest.fixture
def traced(dni: Dni, finished: Path) -> Dni:
    """The command in a folder with that run."""
    shutil.copytree(finished, dni.home / "run")
    return dni


def rows(dni: Dni, *arguments: str) -> list[dict[str, Any]]:
    """The JSON list that a command prints; it must print nothing else."""
    shown = dni("trace", *arguments, "--json")
    assert (shown.returncode, shown.stderr) == (0, "")
    found: list[dict[str, Any]] = json.loads(shown.stdout)
    return found


def text(dni: Dni, *arguments: str) -> str:
    """The text that a command prints."""
    shown = dni("trace", *arguments)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "…" not in shown.stdout
    return shown.stdout


def test_stats_has_one_row_per_edge(traced: Dni) -> None:
    found = {row["edge"]: row for row in rows(traced, "stats", "run")}
    assert found.keys() == EDGES
    for row in found.values():
        assert all(counts["balanced"] for counts in row["counts"])
        assert row["messages"] == sum(counts["sent"] for counts in row["counts"])
        assert row["bound"] == 0
    (up,) = (a for a in found["source>layer0"]["counts"] if a["kind"] == "activation")
    assert (up["sent"], up["used"]) == (40, 40)
    assert up["bytes"] == 40 * 32 * (64 + 8)  # images, and labels of 64 bits
    assert found["source>layer0"]["delay"]["count"] == 40 + 12
    shown = text(traced, "stats", "run")
    assert all(edge in shown for edge in EDGES)
    assert "±" not in shown
    assert "unaccounted" not in shown


def test_messages_can_be_selected_by_every_option(traced: Dni) -> None:
    everything = rows(traced, "messages", "run", "--limit", "100000")
    begun = [row["sent"] for row in everything]
    assert begun == sorted(begun)
    assert {row["edge"] for row in everything} == EDGES
    chosen: list[tuple[tuple[str, ...], Any]] = [
        (("--layer", "1"), lambda row: "layer1" in row["edge"]),
        (("--layer", "layer2"), lambda row: "layer2" in row["edge"]),
        (("--layer", "source"), lambda row: "source" in row["edge"]),
        (("--edge", "layer1>layer0"), lambda row: row["edge"] == "layer1>layer0"),
        (("--kind", "gradient"), lambda row: row["kind"] == "gradient"),
        (("--kind", "test"), lambda row: row["kind"] == "test"),
        (("--batch", "7"), lambda row: row["batch"] == 7),
        (("--batch", "7-9", "--kind", "activation"), None),
        (("--outcome", "used"), lambda row: row["outcome"] == "used"),
        (("--outcome", "missing"), lambda row: row["outcome"] == "missing"),
    ]
    for arguments, keep in chosen:
        found = rows(traced, "messages", "run", "--limit", "100000", *arguments)
        if keep is None:
            assert len(found) == 9
            assert {row["batch"] for row in found} == {7, 8, 9}
        else:
            assert found == [row for row in everything if keep(row)], arguments
    few = traced("trace", "messages", "run", "--limit", "3", "--json")
    assert json.loads(few.stdout) == everything[:3]
    assert few.stderr == f"the first 3 of {len(everything):,} messages; --limit shows more\n"
    shown = text(traced, "messages", "run")
    assert f"the first 100 of {len(everything):,} messages" in shown


def flattened(trees: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for tree in trees:
        yield tree
        yield from flattened(tree["effects"])


def test_batch_shows_a_tree_of_messages(traced: Dni) -> None:
    roots = rows(traced, "batch", "run", "7")
    assert [tree["edge"] for tree in roots] == ["source>layer0"]
    trees = list(flattened(roots))
    assert {tree["batch"] for tree in trees} == {7}
    assert len(trees) == 5
    shown = text(traced, "batch", "run", "7")
    lines = [line for line in shown.splitlines() if ">" in line]
    assert len(lines) == 5


def test_lost_shows_unused_messages(traced: Dni) -> None:
    found = rows(traced, "lost", "run")
    assert {(row["kind"], row["reason"]) for row in found} <= {("credit", "the run ended")}
    assert len(text(traced, "lost", "run").splitlines()) >= max(1, len(found))


def test_run_does_not_differ_from_itself(traced: Dni) -> None:
    found = rows(traced, "diff", "run", "run")
    assert {row["edge"] for row in found} == EDGES
    assert all(row["a"] == row["b"] for row in found)
    assert all(row["ratio"] in (None, 1) for row in found)
    assert "delay_p95" in text(traced, "diff", "run", "run")


WRONG: list[tuple[tuple[str, ...], list[str]]] = [
    (("stats", "nowhere"), ["nowhere", "no such folder"]),
    (("stats", __file__), [__file__[:80], "is a file; give the folder of a run"]),
    (("stats", "."), ["holds no run"]),
    (("diff", "run", "nowhere"), ["nowhere"]),
    (("messages", "run", "--layer", "3"), ["--layer", "'3'", "0 … 2"]),
    (("messages", "run", "--layer", "lyer1"), ["--layer", "'lyer1'"]),
    (("messages", "run", "--edge", "layer0>layer2"), ["--edge", "'layer0>layer2'"]),
    (("messages", "run", "--kind", "gradeint"), ["--kind", "did you mean 'gradient'?"]),
    (("messages", "run", "--kind", ""), ["--kind"]),
    (("messages", "run", "--outcome", "sued"), ["--outcome", "did you mean 'used'?"]),
    (("messages", "run", "--batch", "9-7"), ["--batch", "ends before it begins"]),
    (("messages", "run", "--batch", "seven"), ["--batch", "first-last"]),
    (("batch", "run", "99999"), ["99999", "is recorded"]),
    (("batch", "run", str(10**30)), [str(10**30), "is recorded"]),
    (("follow", "run"), ["the run has ended", "dni trace messages"]),
    (("follow", "run", "--layer", "9"), ["--layer"]),
    (("lost", "nowhere"), ["nowhere"]),
]


@pytest.mark.parametrize(("arguments", "texts"), WRONG, ids=lambda value: " ".join(value)[:40])
def test_mistake_is_reported_in_one_line(
    finished: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], texts: list[str]
) -> None:
    monkeypatch.chdir(finished.parent)
    for form in ((), ("--json",)):
        shown = CliRunner().invoke(cli.main, ["trace", *arguments, *form])
        process = (shown.exit_code, shown.stdout, shown.stderr)
        mistake(subprocess.CompletedProcess("dni", *process), *texts)


def test_usage_error_has_no_traceback(traced: Dni) -> None:
    for arguments in (
        ("batch", "run", "seven"),
        ("messages", "run", "--limit", "0"),
        ("batch", "run"),
    ):
        ran = traced("trace", *arguments)
        assert ran.returncode == 2
        assert "Error: " in ran.stderr
        assert "Traceback" not in ran.stderr


def test_unreadable_trace_is_a_warning(traced: Dni) -> None:
    path = traced.home / "run" / "trace" / "layer1.trace"
    path.write_bytes(path.read_bytes()[:-48])
    for arguments in (
        ("stats", "run"),
        ("lost", "run"),
        ("messages", "run"),
        ("batch", "run", "7"),
    ):
        shown = traced("trace", *arguments)
        assert shown.returncode == 0
        (line,) = shown.stderr.splitlines()
        assert line.startswith("warning: run/trace/layer1.trace: is cut off: 1 of ")
        assert shown.stdout
    path.unlink()
    shown = traced("trace", "stats", "run")
    assert shown.stderr == "warning: run/trace/layer1.trace: No such file or directory\n"


def test_run_without_traces_is_reported_in_one_line(traced: Dni) -> None:
    done = traced("run", "tiny.toml", "--run-dir", "off", "--engine", "inline", "--trace", "off")
    assert done.returncode == 0
    assert not (traced.home / "off" / "trace").exists()
    mistake(traced("trace", "stats", "off"), "off: holds no traces", "--trace off")


def test_run_is_found_by_the_end_of_its_name(traced: Dni) -> None:
    runs = traced.home / "runs"
    runs.mkdir()
    for name in ("20260101-000000-one", "20260101-000000-two"):
        (traced.home / "run").rename(runs / name)
        shutil.copytree(runs / name, traced.home / "run")
    assert {row["edge"] for row in rows(traced, "stats", "one")} == EDGES
    assert {row["edge"] for row in rows(traced, "stats", "000-two")} == EDGES
    mistake(traced("trace", "stats", "three"), "three", "no run under runs/")


@pytest.mark.parametrize("arguments", [["messages", "run", "--limit", "9999"], ["stats", "run"]])
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_closed_pipe_gives_no_traceback(traced: Dni, arguments: list[str], form: list[str]) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as pipe:
        os.close(reader)
        assert traced("trace", *arguments, *form, stdout=pipe).stderr == ""


# -- follow


@contextmanager
def following(dni: Dni, *arguments: str) -> Iterator[CommandProcess]:
    """`dni trace follow` once it has printed events; its output goes to files."""
    with (dni.home / "follow.out").open("wb") as out, (dni.home / "follow.err").open("wb") as err:
        process = dni.spawn(("trace", "follow", "run", *arguments), out, err)
        dni.until(lambda: len(printed(dni)) > 50 or process.poll() is not None, "it prints events")
        yield process
        process.wait(60)


def printed(dni: Command) -> list[str]:
    """The lines that `dni trace follow` has printed."""
    return (dni.home / "follow.out").read_text("utf-8").splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["line", "json"])
def test_follow_shows_events_until_the_run_ends(dni: Dni, form: str) -> None:
    training = dni.train()
    arguments = ("--layer", "1", "--kind", "gradient", *(["--json"] if form == "json" else []))
    with following(dni, *arguments) as follower:
        training.signal(signal.SIGINT)
        assert training.end(30) == 130
        assert follower.wait(30) == 0
    for line in printed(dni):
        if form == "line":
            assert "gradient" in line
            assert "layer1" in line
        else:
            event = json.loads(line)
            assert "layer1" in event["edge"]
            assert event["kind"] == "gradient"
            assert event["event"] in {"sent", "received", "used", "dropped"}


@pytest.mark.slow
def test_ctrl_c_ends_follow_and_not_the_run(dni: Dni) -> None:
    training = dni.train()
    with following(dni, "--batch", "1-999999999") as follower:
        follower.send_signal(signal.SIGINT)
        assert follower.wait(30) == 130
    assert "Traceback" not in (dni.home / "follow.err").read_text("utf-8")
    assert training.process.poll() is None
    training.signal(signal.SIGINT)
    assert training.end(30) == 130
