"""The commands check, evaluate and data, and the errors for mistakes in a pipeline file."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

import cli

if TYPE_CHECKING:
    from tests.dni import Dni

from tests.test_commands import ENGINES, INLINE, mistake, run


def test_check_shows_sizes_and_starts_no_process(dni: Dni, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(dni.home)
    monkeypatch.delattr(subprocess, "Popen")
    shown = CliRunner().invoke(cli.main, ["check", "tiny.toml"], env={"COLUMNS": "120"})
    assert shown.exit_code == 0
    for argument in ("layer0", "8x8", "16", "1,072", "272", "170", "432", "KiB", "MiB"):
        assert argument in shown.output
    assert [path.name for path in dni.home.iterdir()] == ["tiny.toml"]
    output = json.loads(CliRunner().invoke(cli.main, ["check", "tiny.toml", "--json"]).output)
    assert [layer["parameters"] for layer in output["layers"]] == [1072, 272, 170]
    assert [layer["output"] for layer in output["layers"]] == [[16], [16], [10]]
    dni.nothing_left()


def test_check_shows_the_placement_of_layers_on_workers(dni: Dni) -> None:
    output = json.loads(dni("check", "tiny.toml", "--workers", "2", "--json").stdout)
    assert output["workers"] == {
        "source": ["source"],
        "layer0": ["layer0"],
        "layer1-2": ["layer1", "layer2"],
    }
    works = [layer["work"] for layer in output["layers"]]
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
def test_check_allocates_no_memory_for_the_layers(dni: Dni, key: str) -> None:
    known = ("-o", "data.batch=2", "-o", key)
    layers = json.loads(dni("check", "tiny.toml", *known, "--json").stdout)["layers"]
    assert layers[0]["memory_mb"] > 1e5


def test_check_is_readable_on_a_pipe(dni: Dni) -> None:
    shown = dni("check", "tiny.toml")
    for argument in ("modules", "parameters", "gradient model", "up KiB", "linear 16"):
        assert argument in shown.stdout
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


def test_data_shows_the_source_and_the_location_of_data_sets(dni: Dni) -> None:
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
    ("right", "wrong", "arguments"),
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
def test_the_error_for_a_mistake_in_a_pipeline_file_is_one_line(
    dni: Dni, command: str, right: str, wrong: str, arguments: list[str]
) -> None:
    text = (dni.home / "tiny.toml").read_text("utf-8")
    assert right in text
    (dni.home / "bad.toml").write_text(text.replace(right, wrong), "utf-8")
    mistake(dni(command, "bad.toml"), "bad.toml: ", *arguments)
    assert not (dni.home / "runs").exists()
    dni.nothing_left()


def test_the_error_for_shapes_that_do_not_fit_is_one_line(dni: Dni) -> None:
    text = '[data]\nname = "digits"\n[[layer]]\nmodules = ["relu"]\n'
    (dni.home / "bad.toml").write_text(text, "utf-8")
    mistake(dni("run", "bad.toml"), "bad.toml: ", "layer[0].modules", "(8, 8)", "'flatten'")
    mistake(dni("run", "none.toml"), "none.toml: ", "no such file")
    mistake(dni("run", "tiny.toml", "-o", "train.steps"), "train.steps", "key=value")
