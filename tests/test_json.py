"""All JSON is strict: no output and no file contains NaN or Infinity."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file, save_file

import cli
from coordinator.control.server import ControlServer
from coordinator.control.snapshot import LocalHost, Snapshot
from coordinator.observers.run_stats import RunStats
from protocol import Evaluated, Report
from protocol.builtin import to_json
from protocol.security.token import Token
from tests.control_help import serving
from tests.traced import ran, tiny

if TYPE_CHECKING:
    from tests.dni import Dni

NAN, INF = math.nan, math.inf


def strict(text: str) -> Any:
    """The value of `text`, parsed strictly by RFC 8259."""

    def refuse(argument: str) -> None:
        pytest.fail(f"{argument} is no JSON")

    return json.loads(text, parse_constant=refuse)


def lines(text: str) -> list[Any]:
    return [strict(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a completed run."""
    folder = tmp_path_factory.mktemp("json") / "run"
    ran(tiny(), folder)
    return folder


def printed(*arguments: str) -> str:
    """The standard output of `dni`."""
    shown = CliRunner().invoke(cli.main, [*arguments], catch_exceptions=False)
    return shown.stdout


# -- to_json


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (NAN, None),
        ([1.5, INF, -INF], [1.5, None, None]),
        ({"a": {"b": (NAN, 2)}}, {"a": {"b": [None, 2]}}),
        (np.float64("nan"), None),
        ({"a": 1e308, "b": "NaN"}, {"a": 1e308, "b": "NaN"}),
        (Path("a/é"), "a/é"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("indent", [None, 2])
def test_nan_and_infinity_become_null(value: object, read: object, indent: int | None) -> None:
    text = to_json(value, indent)
    assert text.isascii()
    assert strict(text) == read


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", object()])
def test_types_without_a_json_form_are_refused(value: object) -> None:
    with pytest.raises(TypeError):
        to_json(value)


# -- the output of commands


@pytest.mark.parametrize(
    "arguments",
    [
        "check --json",
        "data list --json",
        "evaluate {run} --json",
        "trace stats {run} --json",
        "trace messages {run} --json",
        "trace messages {run} --batch 99 --json",
        "trace batch {run} 7 --json",
        "trace lost {run} --json",
        "trace diff {run} {run} --json",
    ],
)
def test_a_command_prints_json(run: Path, arguments: str) -> None:
    found = strict(printed(*arguments.format(run=run).split()))
    assert isinstance(found, dict | list)


@pytest.mark.parametrize("wrong", [3e38, -3e38, 2e38], ids=str)
def test_weights_whose_outputs_overflow_have_no_loss(
    run: Path, wrong: float, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / "weights" / "layer2.safetensors"
    arrays = {name: np.full_like(array, wrong) for name, array in load_file(path).items()}
    arrays["0.linear.weight"][::2] *= -1
    save_file(arrays, path)
    with np.errstate(all="ignore"):
        found = strict(printed("evaluate", str(tmp_path / "run"), "--json"))
    assert found["test_loss"] is None
    assert 0 <= found["test_error"] <= 100


def test_the_output_and_files_of_a_run_and_a_comparison_are_json(dni: Dni) -> None:
    arguments = ("tiny.toml", "--engine", "inline", "--json")
    summary = strict(dni("run", *arguments, "--run-dir", "run").stdout)
    assert summary == strict((dni.home / "run" / "summary.json").read_text("utf-8"))
    assert len(lines((dni.home / "run" / "metrics.jsonl").read_text("utf-8"))) > 3
    output = dni("compare", *arguments, "--rules", "cdni", "--seeds", "1", "--out", "out").stdout
    assert strict(output)["groups"] == strict(
        (dni.home / "out" / "comparison.json").read_text("utf-8")
    )


@pytest.mark.parametrize("form", ["chrome", "jsonl", "otlp"])
def test_an_export_is_json(run: Path, form: str, tmp_path: Path) -> None:
    file = tmp_path / "export.json" if form == "chrome" else tmp_path / "export.jsonl"
    printed("trace", "export", str(run), "--to", form, str(file))
    text = file.read_text("utf-8")
    assert strict(text) if form == "chrome" else lines(text)


# -- the files and the status of a run


def messages() -> Iterable[Report | Evaluated]:
    """Reports whose figures are all NaN or infinite."""
    wrong: dict[str, Any] = dict.fromkeys(("synthetic_cosine", "norm_ratio", "loss"), NAN)
    yield Report(
        "layer2", busy=INF, elapsed=1.0, rss_mb=NAN, links={"layer1": [4, NAN, INF]}, **wrong
    )
    yield Report(
        "layer2", busy=NAN, elapsed=2.0, samples=9, training=1e-320, finished=True, **wrong
    )
    yield Evaluated("layer2", 7, NAN, 1, 10)


def test_the_files_of_a_run_are_json_whatever_its_workers_report(tmp_path: Path) -> None:
    from coordinator.observers.recorder import RunRecorder
    from coordinator.observers.run_stats import RunStats
    from coordinator.run_folder.layout import METRICS, SUMMARY

    stats, recorder = RunStats(tiny()), RunRecorder(tmp_path, tiny())
    for message in messages():
        recorder.on_metrics(stats, stats.add(message))
    recorder.finish({**stats.summary("completed", 1.0), "extra": INF})
    assert len(lines((tmp_path / METRICS).read_text("utf-8"))) == 3
    assert strict((tmp_path / SUMMARY).read_text("utf-8"))["extra"] is None


@pytest.mark.parametrize("samples", [NAN, INF, 1000.0])
def test_the_status_of_a_run_is_printed_as_json_and_as_tables(
    tmp_path: Path, samples: float
) -> None:
    sockets, run = tmp_path / "s", tmp_path / "run"
    sockets.mkdir()
    run.mkdir()
    (run / "pipeline.toml").touch()
    row = RunStats(tiny()).add(Report("layer0", 1)) | {"samples_per_second": samples}
    snapshot = Snapshot("training", hosts=LocalHost(2, tiny()).hosts(), stages=[row])
    with serving(ControlServer(sockets, run, lambda: snapshot)):
        (stage,) = strict(printed("status", str(run), "--json"))["stages"]
        assert stage["samples_per_second"] == (1000 if samples == 1000 else None)
        assert "layer0" in printed("status", str(run))


def test_the_findings_of_doctor_are_json() -> None:
    token = Token(("tcp://127.0.0.1:1",), b"k" * 32, b"s" * 32)
    (finding,) = strict(printed("doctor", str(token), "--json"))
    assert finding["check"] == "head"
    assert finding["passed"] is False
