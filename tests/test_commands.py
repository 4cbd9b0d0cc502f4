"""The commands and their output; a mistake of the user is one line and exit status 2."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file

import cli
from coordinator.cluster.select import ENGINES as ENGINE_NAMES
from coordinator.run_folder.create import RunFolder
from protocol import read_pipeline

if TYPE_CHECKING:
    from tests.dni import Dni

LAYERS = ("layer0", "layer1", "layer2")
SUMMARY = {
    *("pipeline", "rule", "steps", "outcome", "wall_seconds", "samples_per_second"),
    *("train_loss", "test_error", "layers"),
}
LAYER = {
    *("name", "updates", "activations", "gradients", "dropped_gradients", "busy_fraction"),
    *("staleness_p50", "staleness_max", "synthetic_cosine", "peak_rss_mb"),
}
METRICS = {
    *("layer", "step", "loss", "updates", "samples_per_second", "busy_fraction", "queue"),
    *("staleness_p50", "synthetic_cosine", "norm_ratio", "dropped_gradients"),
    *("inputs", "dropped_inputs", "unsent"),
}
ENGINES = [pytest.param("local", marks=pytest.mark.slow), "inline"]
INLINE = ("--engine", "inline")


def mistake(ran: subprocess.CompletedProcess[str], *arguments: str) -> None:
    """One line on standard error, with all of `arguments`, and exit code 2."""
    assert ran.returncode == 2, ran.stderr
    assert ran.stdout == ""
    (line,) = ran.stderr.splitlines()
    assert line.startswith("Error: ")
    for argument in arguments:
        assert argument in line


def run(dni: Dni, *arguments: str, run_dir: str = "run") -> dict[str, Any]:
    """Run TINY to its end; return its summary."""
    ran = dni("run", "tiny.toml", "--run-dir", run_dir, "--json", *arguments)
    assert ran.returncode == 0, ran.stderr
    return cast(dict[str, Any], json.loads(ran.stdout))


def weights(folder: Path) -> dict[str, dict[str, np.typing.NDArray[np.generic]]]:
    """All arrays of a run, one dict per file."""
    return {path.stem: load_file(path) for path in sorted((folder / "weights").iterdir())}


# -- help


def commands(command: click.Command, *arguments: str) -> Iterator[tuple[list[str], click.Command]]:
    """`command` and every command below it, each with the arguments that call it."""
    yield list(arguments), command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands(inner, *arguments, name)


@pytest.mark.parametrize(("arguments", "command"), [*commands(cli.main)])
def test_every_command_has_help(arguments: list[str], command: click.Command) -> None:
    for option in ("--help", "-h"):
        shown = CliRunner().invoke(cli.main, [*arguments, option])
        assert shown.exit_code == 0
        assert command.help
        assert command.help.split()[0] in shown.output
    assert {"run", "check", "evaluate", "data"} <= cli.main.commands.keys()


# -- dni run


@pytest.mark.parametrize("engine", ENGINES)
def test_run_prints_one_json_object_and_nothing_else(dni: Dni, engine: str) -> None:
    ran = dni("run", "tiny.toml", "--run-dir", "run", "--json", "--engine", engine)
    assert ran.returncode == 0
    assert len(ran.stdout.splitlines()) == 1
    summary = json.loads(ran.stdout)
    assert summary == json.loads((dni.home / "run" / "summary.json").read_text("utf-8"))
    assert summary.keys() >= SUMMARY
    assert [layer["name"] for layer in summary["layers"]] == list(LAYERS)
    for layer in summary["layers"]:
        assert layer.keys() >= LAYER
        assert (layer["updates"], layer["activations"]) == (40, 40)
        assert 0 < layer["busy_fraction"] <= 1
        assert layer["peak_rss_mb"] > 1
    assert (summary["pipeline"], summary["rule"]) == ("tiny", "cdni")
    assert (summary["steps"], summary["outcome"]) == (40, "completed")
    assert 0 <= summary["test_error"] <= 100


def test_run_prints_the_json_of_a_failed_run(dni: Dni) -> None:
    arguments = (*INLINE, "-o", "train.optimizer=sgd", "-o", "train.lr=1e30")
    ran = dni("run", "tiny.toml", "--run-dir", "run", "--json", *arguments)
    assert ran.returncode == 1
    assert json.loads(ran.stdout)["outcome"] == "failed"


@pytest.mark.parametrize("engine", ENGINES)
def test_the_run_folder_has_all_documented_files(dni: Dni, engine: str) -> None:
    run(dni, "--engine", engine, "-o", "synthetic.hidden=[8]")
    folder = dni.home / "run"
    files = {"pipeline.toml", "metrics.jsonl", "summary.json", "weights", "trace"}
    assert {path.name for path in folder.iterdir()} == files
    wanted = read_pipeline(dni.home / "tiny.toml", ["synthetic.hidden=[8]"])
    assert read_pipeline(folder / "pipeline.toml") == wanted
    text = (folder / "metrics.jsonl").read_text("utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["step"] for line in lines if "test_error" in line] == [20, 40]
    reports = [line for line in lines if "layer" in line]
    assert {line["layer"] for line in reports} == {"source", *LAYERS}
    assert all(line.keys() >= METRICS for line in reports)
    found = weights(folder)
    assert found.keys() == set(LAYERS)
    for name, arrays in found.items():
        assert any(key.startswith("optimizer.") for key in arrays)
        synthetic = name != "layer2"  # the output layer has the true gradient
        assert any(key.startswith("synthetic.optimizer.") for key in arrays) == synthetic
        assert any(re.match(r"synthetic\.\d", key) for key in arrays) == synthetic
        assert any(re.match(r"\d\.linear\.weight", key) for key in arrays)


@pytest.mark.parametrize("engine", ENGINES)
def test_output_to_a_pipe_is_plain_lines(dni: Dni, engine: str) -> None:
    ran = dni("run", "tiny.toml", "--run-dir", "run", "--engine", engine)
    assert ran.returncode == 0
    assert ran.stderr == ""
    assert re.search(r"^step 20  test error \d+\.\d\d %$", ran.stdout, re.MULTILINE)
    assert re.search(r"^files: run$", ran.stdout, re.MULTILINE)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", ran.stdout)


def test_an_existing_run_is_refused_without_force_and_overwritten_with_it(dni: Dni) -> None:
    run(dni, *INLINE)
    before = weights(dni.home / "run")["layer0"]["0.linear.weight"]
    mistake(dni("run", "tiny.toml", "--run-dir", "run", *INLINE), "run", "--force")
    assert run(dni, *INLINE, "--force", "-o", "train.steps=7")["steps"] == 7
    assert not np.array_equal(before, weights(dni.home / "run")["layer0"]["0.linear.weight"])


def test_a_folder_that_is_not_a_run_is_never_overwritten(dni: Dni) -> None:
    thesis = dni.home / "thesis" / "text.txt"
    thesis.parent.mkdir()
    thesis.write_text("all my work", "utf-8")
    for path in ("thesis", "thesis/text.txt"):
        mistake(dni("run", "tiny.toml", "--run-dir", path, "--force", *INLINE), path)
    assert [path.name for path in thesis.parent.iterdir()] == ["text.txt"]
    assert thesis.read_text("utf-8") == "all my work"


def test_a_run_without_a_folder_gets_one_named_after_time_and_pipeline(dni: Dni) -> None:
    assert dni("run", "tiny.toml", *INLINE).returncode == 0
    (folder,) = (dni.home / "runs").iterdir()
    assert re.fullmatch(r"\d{8}-\d{6}-tiny", folder.name)


def test_runs_started_at_the_same_moment_get_different_folders(
    dni: Dni, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(dni.home)
    assert len({RunFolder("tiny", None, False).create() for _ in range(20)}) == 20


# -- in Python


@pytest.mark.slow
def test_python_and_the_command_line_give_equal_results(
    dni: Dni, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(dni.base))
    output = run(dni, "-o", "train.schedule=lockstep")
    pipeline = read_pipeline(dni.home / "tiny.toml", ["train.schedule=lockstep"])
    for engine in ENGINE_NAMES:
        result = cli.run(pipeline, engine=engine, run_dir=dni.home / engine)
        keys = ("steps", "outcome", "test_error", "test_loss")
        assert [result.summary[key] for key in keys] == [output[key] for key in keys]
        ours, theirs = weights(dni.home / engine), weights(dni.home / "run")
        for name in LAYERS:
            for key, array in theirs[name].items():
                np.testing.assert_array_equal(ours[name][key], array, key)
        judgement = cli.evaluate(dni.home / engine)
        assert 100 * judgement.errors / judgement.judged == output["test_error"]
    plans = json.loads(dni("check", "tiny.toml", "--json").stdout)["layers"]
    assert [plan.parameters for plan in cli.check(pipeline)] == [p["parameters"] for p in plans]
    dni.nothing_left()
