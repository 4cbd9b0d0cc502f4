"""A comparison runs what is missing, writes its results, and reports mistakes in one line."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from coordinator.compare import table1
from coordinator.compare.cells import Cell, make_cells
from coordinator.compare.results import (
    CellResult,
    CurvePoint,
    RunGroup,
    choose_goals,
    group_runs,
    read_cell_result,
)
from protocol import DataConfig, LayerConfig, Pipeline, SpecError, TrainConfig
from protocol.dataset_info import DatasetInfo
from workers.assembly.compatibility import layer_modules

if TYPE_CHECKING:
    from tests.dni import Dni

ARGUMENTS = ("compare", "tiny.toml", "--engine", "inline", "--out", "out")
PIPELINE = Pipeline(
    name="toy", data=DataConfig(name="digits"), layer=(LayerConfig(("linear 10",)),)
)


def compare(dni: Dni, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command, and require the exit status `code`."""
    ran = dni(*ARGUMENTS, *arguments)
    assert ran.returncode == code, ran.stderr
    return ran


def ran(rule: str, seed: int, error: float, curve: tuple[CurvePoint, ...] = ()) -> CellResult:
    """A result without a folder."""
    pipeline = replace(PIPELINE, rule=rule, train=TrainConfig(seed=seed))
    return CellResult(Cell(pipeline, None), Path(), error, 1000.0, 2.0, curve)


# -- choice of runs


def test_every_rule_has_every_seed_and_a_curve() -> None:
    made = list(make_cells(PIPELINE, ["dni", "cdni", "dni"], 2, {"dni": 1.9}))
    assert [(c.pipeline.rule, c.pipeline.train.seed, c.paper) for c in made] == [
        *(("dni", 0, 1.9), ("cdni", 0, None)),
        *(("dni", 1, 1.9), ("cdni", 1, None)),
    ]
    assert {cell.pipeline.train.eval_every for cell in made} == {50}
    assert len({cell.folder for cell in made}) == 4


def test_different_pipelines_have_different_folders() -> None:
    one, other = (
        Cell(replace(PIPELINE, train=TrainConfig(steps=steps)), None).folder for steps in (10, 11)
    )
    assert one != other


@pytest.mark.parametrize(("rules", "seeds"), [(["dmi"], 1), (["dni"], 0), (["dni"], 10**6)])
def test_impossible_comparisons_are_refused(rules: list[str], seeds: int) -> None:
    with pytest.raises(SpecError, match=r"--rules|--seeds"):
        list(make_cells(PIPELINE, rules, seeds, {}))


@pytest.mark.parametrize("name", list(table1.PAPER))
def test_networks_of_the_table_fit_their_data(name: str) -> None:
    shape = (28, 28) if name.startswith("mnist") else (32, 32, 3)
    info = DatasetInfo(shape, "|u1", 1 / 255, 10, labelled=True, examples=50000, tests=10000)
    pipeline = table1.network(name, quick=False)
    made = layer_modules(pipeline, info)
    assert len(made) == int(name[-1])
    assert made[-1][-1].output == (10,)


def test_table_can_be_restricted_to_some_networks() -> None:
    made = list(table1.table1_cells(["cdni"], 1, True, "mnist-fcn", None))
    assert [cell.paper for cell in made] == [2.2, 1.9, 1.7, 1.6]
    assert all(cell.pipeline.train.steps == 400 for cell in made)
    with pytest.raises(SpecError, match="--only"):
        list(table1.table1_cells(["cdni"], 1, True, "imagenet", None))


# -- results


def test_group_has_mean_spread_and_goal() -> None:
    curve = (CurvePoint(10, 1.0, 9.0), CurvePoint(20, 3.0, 2.0))
    groups = group_runs([
        ran("no-bprop", 0, 30.0), ran("cdni", 0, 1.0, curve), ran("cdni", 1, 2.04, curve)
    ])  # fmt: skip
    assert [(group.rule, len(group.runs)) for group in groups] == [("no-bprop", 1), ("cdni", 2)]
    cdni = groups[1]
    assert cdni.error == pytest.approx(1.52)
    assert cdni.spread == pytest.approx(0.7354, abs=1e-3)
    assert choose_goals(groups, None) == {"toy": 2.1}
    assert choose_goals(groups, 5.0) == {"toy": 5.0}
    assert cdni.seconds_to(2.1) == 3.0
    assert cdni.seconds_to(1.0) is None


def test_group_never_reaches_an_error_that_one_seed_does_not_reach() -> None:
    there, not_there = (CurvePoint(1, 1.0, 1.0),), (CurvePoint(1, 1.0, 9.0),)
    group = RunGroup("toy", "dni", None, (ran("dni", 0, 1.0, there), ran("dni", 1, 9.0, not_there)))
    assert group.seconds_to(5.0) is None


def test_comparison_writes_a_table_files_and_a_plot(dni: Dni) -> None:
    said = compare(dni, "--rules", "backprop,cdni", "--seeds", "2").stdout
    out = dni.home / "out"
    whole = json.loads((out / "comparison.json").read_text("utf-8"))
    assert [(group["rule"], len(group["test_errors"])) for group in whole] == [
        ("backprop", 2),
        ("cdni", 2),
    ]
    with (out / "comparison.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [line["seed"] for line in lines] == ["3", "4"] * 2
    for line in lines:
        summary = json.loads((out / line["folder"] / "summary.json").read_text("utf-8"))
        assert float(line["test_error"]) == summary["test_error"]
    assert (out / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert "backprop" in said
    assert f"{whole[1]['test_error']:.2f}" in said


def test_only_incomplete_runs_are_repeated(dni: Dni) -> None:
    first = compare(dni, "--rules", "dni,cdni", "--seeds", "1", "--json")
    again = compare(dni, "--rules", "dni,cdni", "--seeds", "1", "--json")
    assert json.loads(first.stdout) == json.loads(again.stdout)
    assert again.stderr.count("exists already") == 2
    folder = Path(json.loads(first.stdout)["groups"][0]["runs"][0])
    summary = dni.home / folder / "summary.json"
    summary.write_text(summary.read_text("utf-8").replace("completed", "interrupted"), "utf-8")
    third = compare(dni, "--rules", "dni,cdni", "--seeds", "1", "--json")
    assert third.stderr.count("exists already") == 1
    errors = [
        [group["test_errors"] for group in json.loads(made.stdout)["groups"]]
        for made in (first, third)
    ]
    assert errors[0] == errors[1]


def test_runs_with_another_number_of_workers_are_not_the_same_runs(dni: Dni) -> None:
    arguments = ("--rules", "cdni", "--seeds", "1", "--json")
    runs = [
        json.loads(compare(dni, *arguments, *workers).stdout)["groups"][0]["runs"][0]
        for workers in ((), ("--workers", "2"), ("--workers", "2"))
    ]
    assert runs[0] != runs[1] == runs[2]
    assert [len(_read(dni.home / run).workers) for run in runs[:2]] == [4, 3]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"outcome": "completed"}', "null"])
def test_run_with_a_broken_summary_is_incomplete(dni: Dni, content: str) -> None:
    result = json.loads(compare(dni, "--rules", "cdni", "--seeds", "1", "--json").stdout)
    folder = dni.home / result["groups"][0]["runs"][0]
    cell = Cell(_read(folder), None, "inline")
    assert read_cell_result(cell, folder.parent) is not None
    (folder / "summary.json").write_text(content, "utf-8")
    assert read_cell_result(cell, folder.parent) is None


def _read(folder: Path) -> Pipeline:
    from protocol import read_pipeline

    return read_pipeline(folder / "pipeline.toml")


@pytest.mark.slow
def test_interrupted_comparison_can_be_continued(dni: Dni) -> None:
    arguments = ["--rules", "no-bprop,cdni", "--seeds", "1", "-o", "train.steps=6000"]
    out = dni.home / "out"
    with (dni.home / "said").open("wb") as said:
        process = dni.spawn((*ARGUMENTS, *arguments), said, said)
    dni.until(lambda: list(out.glob("*-cdni-*/metrics.jsonl")), "the second run has begun")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert "continues the comparison" in (dni.home / "said").read_text("utf-8")
    rest = compare(dni, *arguments)
    assert rest.stdout.count("exists already") == 1
    assert len(json.loads((out / "comparison.json").read_text("utf-8"))) == 2


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--rules", "cdmi"], "did you mean 'cdni'"),
        (["--seeds", "0"], "--seeds"),
        (["--table1"], "--table1"),
        (["--quick"], "--table1"),
        (["--rules", ""], "--rules"),
        (["--goal", "nan"], "--goal"),
        (["--goal", "101"], "--goal"),
        (["-o", "data.name=mnits"], "did you mean 'mnist'"),
        (["-o", "layer.2.modules=['linear 3']"], "3 outputs"),
        (["--engine", "inlin"], "unknown engine 'inlin'"),
        (["--engine", "ssh"], "engine ssh: needs --hosts"),
        (["--workers", "4"], "more than the 3 layers"),
    ],
)
def test_mistake_is_reported_in_one_line(dni: Dni, arguments: list[str], text: str) -> None:
    done = compare(dni, *arguments, code=2)
    assert text in done.stderr.splitlines()[-1]
    assert not (dni.home / "out").exists()


def test_failed_run_is_reported_and_the_others_are_run(dni: Dni) -> None:
    arguments = ["--rules", "backprop,no-bprop", "--seeds", "1", "-o", "train.lr=1e30", "--json"]
    done = compare(dni, *arguments, code=1)
    found = json.loads(done.stdout)
    assert found["outcome"] == "failed"
    assert "1/2 tiny backprop" in found["failures"][0]
    assert found["failures"][0] in done.stderr


def test_comparison_without_matplotlib_has_no_plot(dni: Dni) -> None:
    environment = dni.sitecustomize("sys.modules['matplotlib'] = None\n")
    done = dni(*ARGUMENTS, "--rules", "cdni", "--seeds", "1", environment=environment)
    assert done.returncode == 0, done.stderr
    assert "pip install '.[plot]'" in done.stdout
    assert (dni.home / "out" / "comparison.csv").is_file()
    assert not (dni.home / "out" / "comparison.png").exists()
