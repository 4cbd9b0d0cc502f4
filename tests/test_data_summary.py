"""Every run begins with a summary of its data set and the notes on it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors.numpy import load_file, save_file

import cli
from coordinator.cluster.select import ENGINES
from protocol import read_pipeline
from tests.data_help import arrays, saved

pytestmark = pytest.mark.usefixtures("own_folders", "folder")

NET = """\
rule = "backprop"
[data]
path = "own.npz"
batch = 2
[train]
steps = 4
[[layer]]
modules = ["linear 4"]
"""
SUMMARY = "own: 6 training and 2 test examples of 2x2, 4 classes"
NOTE = "note: no training example has the label 3, which test examples have; a network cannot"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a pipeline and a data set that gives one note."""
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, arrays(x_train=np.zeros((6, 2, 2)), x_test=np.zeros((2, 2, 2))))
    (tmp_path / "net.toml").write_text(NET, "utf-8")
    return tmp_path


def dni(*arguments: str) -> Result:
    ran = CliRunner().invoke(cli.main, arguments)
    assert ran.exit_code == 0, ran.output
    return ran


@pytest.mark.parametrize(
    "arguments",
    [("check",), ("run", "--engine", "inline"), ("run", "--engine", "inline", "--run-dir", "r")],
)
def test_the_summary_and_the_notes_are_printed_first_and_once(arguments: tuple[str, ...]) -> None:
    lines = dni(arguments[0], "net.toml", *arguments[1:]).stdout.splitlines()
    assert lines[0] == SUMMARY
    assert lines[1].startswith(NOTE)
    assert sum(SUMMARY in line or NOTE in line for line in lines) == 2


def test_notes_do_not_mix_with_json_on_standard_output() -> None:
    ran = dni("run", "net.toml", "--engine", "inline", "--json")
    assert json.loads(ran.stdout)["steps"] == 4
    assert ran.stderr.splitlines()[0] == SUMMARY
    checked = dni("check", "net.toml", "--json")
    summary, note = json.loads(checked.stdout)["data"]
    assert (summary, checked.stderr) == (SUMMARY, "")
    assert note.startswith(NOTE)


def test_a_comparison_prints_the_summary_once() -> None:
    options = ("--rules", "backprop,no-bprop", "--seeds", "2", "--engine", "inline", "--out", "out")
    shown = dni("compare", "net.toml", *options).output
    assert shown.count(SUMMARY) == shown.count(NOTE) == 1


def test_the_callback_gets_the_lines_and_none_is_printed(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pipeline = read_pipeline(folder / "net.toml")
    for number, engine in enumerate(ENGINES):
        lines: list[str] = []
        cli.run(pipeline, engine=engine, run_dir=folder / str(number), report=lines.append)
        assert lines[0] == SUMMARY
        assert lines[1].startswith(NOTE)
        assert len(lines) == 2
    cli.run(pipeline, engine="inline", run_dir=folder / "silent")
    cli.check(pipeline)
    cli.evaluate(folder / "silent")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("largest", [3, 16, 255])
def test_evaluate_prints_notes_on_standard_error(folder: Path, largest: int) -> None:
    dni("run", "net.toml", "--engine", "inline", "--run-dir", "run")
    saved(folder, arrays(x_test=np.full((2, 2, 2), float(largest))))
    ran = dni("evaluate", "run", "--json")
    assert json.loads(ran.stdout)["judged"] == 2
    (line,) = ran.stderr.splitlines()
    assert line.startswith(f"note: x_test holds floats from {largest} to {largest}, which are not")


@pytest.mark.parametrize("size", [1e30, 3e38])
def test_a_loss_that_is_not_finite_gives_a_note_and_no_number(folder: Path, size: float) -> None:
    dni("run", "net.toml", "--engine", "inline", "--run-dir", "run")
    x = np.full((2, 2, 2), size, np.float32) * np.array([1, -1], np.float32)
    saved(folder, arrays(x_test=x))
    weights = folder / "run" / "weights" / "layer0.safetensors"
    huge = {name: array * np.float32(1e10) for name, array in load_file(weights).items()}
    save_file(huge, weights)
    ran = dni("evaluate", "run", "--json")
    assert json.loads(ran.stdout)["test_loss"] is None
    assert "the loss is " in ran.stderr
    assert "Warning" not in ran.stderr
    shown = dni("evaluate", "run")
    assert "loss -" in shown.stdout
    assert "nan" not in shown.stdout
