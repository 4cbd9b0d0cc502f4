"""The command words do what they say, and a mistake of the user is one line and exit code 2."""

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
    from tests.conftest import Dni

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


def mistake(ran: subprocess.CompletedProcess[str], *words: str) -> None:
    """One line on standard error, with all of `words`, and exit code 2."""
    assert ran.returncode == 2, ran.stderr
    assert ran.stdout == ""
    (line,) = ran.stderr.splitlines()
    assert line.startswith("Error: ")
    for word in words:
        assert word in line


def run(dni: Dni, *words: str, run_dir: str = "run") -> dict[str, Any]:
    """Run TINY to its end; returns its summary."""
    ran = dni("run", "tiny.toml", "--run-dir", run_dir, "--json", *words)
    assert ran.returncode == 0, ran.stderr
    return cast(dict[str, Any], json.loads(ran.stdout))


def weights(folder: Path) -> dict[str, dict[str, np.typing.NDArray[np.generic]]]:
    """All arrays that a run left, a dict a file."""
    return {path.stem: load_file(path) for path in sorted((folder / "weights").iterdir())}


# -- help


def commands(command: click.Command, *words: str) -> Iterator[tuple[list[str], click.Command]]:
    """Every command below `command`, itself included, with the words that call it."""
    yield list(words), command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands(inner, *words, name)


@pytest.mark.parametrize(("words", "command"), [*commands(cli.main)])
def test_every_command_has_help(words: list[str], command: click.Command) -> None:
    for option in ("--help", "-h"):
        shown = CliRunner().invoke(cli.main, [*words, option])
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


def test_run_prints_json_of_a_run_that_failed(dni: Dni) -> None:
    words = (*INLINE, "-o", "train.optimizer=sgd", "-o", "train.lr=1e30")
    ran = dni("run", "tiny.toml", "--run-dir", "run", "--json", *words)
    assert ran.returncode == 1
    assert json.loads(ran.stdout)["outcome"] == "failed"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_leaves_the_folder_it_promises(dni: Dni, engine: str) -> None:
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
        guesses = name != "layer2"  # the top layer knows the truth
        assert any(key.startswith("synthetic.optimizer.") for key in arrays) == guesses
        assert any(re.match(r"synthetic\.\d", key) for key in arrays) == guesses
        assert any(re.match(r"\d\.linear\.weight", key) for key in arrays)


@pytest.mark.parametrize("engine", ENGINES)
def test_on_a_pipe_there_are_plain_lines(dni: Dni, engine: str) -> None:
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


def test_what_is_no_run_is_never_touched(dni: Dni) -> None:
    thesis = dni.home / "thesis" / "chapter.txt"
    thesis.parent.mkdir()
    thesis.write_text("all my work", "utf-8")
    for path in ("thesis", "thesis/chapter.txt"):
        mistake(dni("run", "tiny.toml", "--run-dir", path, "--force", *INLINE), path)
    assert [path.name for path in thesis.parent.iterdir()] == ["chapter.txt"]
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


# -- dni check, dni evaluate, dni data


def test_check_shows_what_a_pipeline_needs_and_starts_nothing(
    dni: Dni, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(dni.home)
    monkeypatch.delattr(subprocess, "Popen")
    shown = CliRunner().invoke(cli.main, ["check", "tiny.toml"], env={"COLUMNS": "120"})
    assert shown.exit_code == 0
    for word in ("layer0", "8x8", "16", "1,072", "272", "170", "432", "KiB", "MiB"):
        assert word in shown.output
    assert [path.name for path in dni.home.iterdir()] == ["tiny.toml"]
    told = json.loads(CliRunner().invoke(cli.main, ["check", "tiny.toml", "--json"]).output)
    assert [layer["parameters"] for layer in told["layers"]] == [1072, 272, 170]
    assert [layer["output"] for layer in told["layers"]] == [[16], [16], [10]]
    dni.nothing_left()


def test_check_shows_how_the_layers_are_divided_among_so_many_workers(dni: Dni) -> None:
    told = json.loads(dni("check", "tiny.toml", "--workers", "2", "--json").stdout)
    assert told["workers"] == {
        "source": ["source"],
        "layer0": ["layer0"],
        "layer1-2": ["layer1", "layer2"],
    }
    works = [layer["work"] for layer in told["layers"]]
    shown = dni("check", "tiny.toml", "--workers", "2").stdout
    assert f"{works[0] / sum(works):.0%}  layer0" in shown
    assert shown.count("layer1-2") == 2


@pytest.mark.parametrize(
    "key",
    [
        "synthetic.hidden=[99999999999]",
        'layer.0.modules=["linear 900000000","batchnorm","linear 16"]',
    ],
)
def test_check_makes_no_room_for_what_it_plans(dni: Dni, key: str) -> None:
    known = ("-o", "data.batch=2", "-o", key)
    layers = json.loads(dni("check", "tiny.toml", *known, "--json").stdout)["layers"]
    assert layers[0]["memory_mb"] > 1e5


def test_check_is_readable_on_a_pipe(dni: Dni) -> None:
    shown = dni("check", "tiny.toml")
    for word in ("modules", "parameters", "gradient model", "up KiB", "linear 16"):
        assert word in shown.stdout
    assert "…" not in shown.stdout


@pytest.mark.parametrize("engine", ENGINES)
def test_evaluate_gives_the_test_error_of_the_summary_exactly(dni: Dni, engine: str) -> None:
    summary = run(dni, "--engine", engine, "-o", "train.steps=100")
    judged = json.loads(dni("evaluate", "run", "--json").stdout)
    assert judged["test_error"] == summary["test_error"]
    assert f"test error {summary['test_error']:.2f} %" in dni("evaluate", "run").stdout


def test_evaluate_of_a_broken_run_names_the_file(dni: Dni) -> None:
    mistake(dni("evaluate", "run"), "run", "pipeline.toml")
    run(dni, *INLINE)
    path = dni.home / "run" / "weights" / "layer1.safetensors"
    whole = path.read_bytes()
    for broken in (whole[:-1], whole[:5], b"", b"\xff" * 100):
        path.write_bytes(broken)
        mistake(dni("evaluate", "run"), "run/weights/layer1.safetensors")
    path.unlink()
    mistake(dni("evaluate", "run"), "run/weights/layer1.safetensors")


def test_data_says_where_data_sets_come_from_and_are(dni: Dni) -> None:
    table = dni("data", "list").stdout
    assert all(name in table for name in ("digits", "mnist", "cifar10", "addition"))
    entries = {entry["name"]: entry for entry in json.loads(dni("data", "list", "--json").stdout)}
    assert {"digits", "mnist", "cifar10"} <= entries.keys()
    got = dni("data", "get", "digits").stdout.strip()
    assert got == entries["digits"]["location"]
    assert Path(got).is_file()
    assert "addition is generated" in dni("data", "get", "addition").stdout
    mistake(dni("data", "get", "digts"), "'digts'", "did you mean 'digits'?")


# -- mistakes in a pipeline file


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ("batch =", "bach =", ["data.bach", "unknown key", "did you mean 'data.batch'?"]),
        ('"tanh"', '"tahn"', ["layer[1].modules[1]", "'tahn'", "did you mean 'tanh'?"]),
        ('"linear 10"', '"linear"', ["layer[2].modules[0]", "linear <outputs>"]),
        ("steps = 40", 'steps = "40"', ["train.steps", "whole number"]),
        ("steps = 40", "steps = ", ["TOML", "line 6"]),
        ("[data]", 'rule = "cndi"\n[data]', ["rule", "'cndi'", "did you mean 'cdni'?"]),
        ('name = "digits"', 'name = "digts"', ["data", "'digts'", "did you mean 'digits'?"]),
        ('name = "digits"', 'path = "no.npz"', ["no.npz", "no such file"]),
        ('"linear 10"', '"linear 9"', ["layer[2].modules", "9 outputs", "'linear 10'"]),
        ("batch = 32", "batch = 1438", ["data.batch", "1438", "1437"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_in_a_pipeline_file_is_told_in_one_line(
    dni: Dni, command: str, right: str, wrong: str, words: list[str]
) -> None:
    text = (dni.home / "tiny.toml").read_text("utf-8")
    assert right in text
    (dni.home / "bad.toml").write_text(text.replace(right, wrong), "utf-8")
    mistake(dni(command, "bad.toml"), "bad.toml: ", *words)
    assert not (dni.home / "runs").exists()
    dni.nothing_left()


def test_shapes_that_do_not_fit_are_told_in_one_line(dni: Dni) -> None:
    text = '[data]\nname = "digits"\n[[layer]]\nmodules = ["relu"]\n'
    (dni.home / "bad.toml").write_text(text, "utf-8")
    mistake(dni("run", "bad.toml"), "bad.toml: ", "layer[0].modules", "(8, 8)", "'flatten'")
    mistake(dni("run", "none.toml"), "none.toml: ", "no such file")
    mistake(dni("run", "tiny.toml", "-o", "train.steps"), "train.steps", "key=value")


# -- in Python


@pytest.mark.slow
def test_python_gives_the_numbers_of_the_command_line(
    dni: Dni, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(dni.base))
    told = run(dni, "-o", "train.schedule=lockstep")
    pipeline = read_pipeline(dni.home / "tiny.toml", ["train.schedule=lockstep"])
    for engine in ENGINE_NAMES:
        result = cli.run(pipeline, engine=engine, run_dir=dni.home / engine)
        keys = ("steps", "outcome", "test_error", "test_loss")
        assert [result.summary[key] for key in keys] == [told[key] for key in keys]
        ours, theirs = weights(dni.home / engine), weights(dni.home / "run")
        for name in LAYERS:
            for key, array in theirs[name].items():
                np.testing.assert_array_equal(ours[name][key], array, key)
        judgement = cli.evaluate(dni.home / engine)
        assert 100 * judgement.errors / judgement.judged == told["test_error"]
    plans = json.loads(dni("check", "tiny.toml", "--json").stdout)["layers"]
    assert [plan.parameters for plan in cli.check(pipeline)] == [p["parameters"] for p in plans]
    dni.nothing_left()
