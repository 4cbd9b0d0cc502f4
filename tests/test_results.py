"""docs/results.md and the figures of README.md are what the files in docs/results give."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import record, table
from benchmarks.record import BenchmarkResult, Figure, Provenance

BENCHMARKS = Path(record.__file__).parent
PROGRAMS = sorted(
    path.stem
    for path in BENCHMARKS.glob("*.py")
    if "argparse.ArgumentParser(" in path.read_text("utf-8") and path.stem != "record"
)
UNKNOWN = Provenance(None, None, None, None, None, None, None)


def test_the_page_of_results_is_generated_from_the_files() -> None:
    assert table.PAGE.read_text("utf-8") == table.page(table.results())


def test_the_readme_has_the_figures_of_the_files() -> None:
    text = table.README.read_text("utf-8")
    assert text == table.readme(text, table.results())


def test_each_file_is_as_a_benchmark_writes_it(tmp_path: Path) -> None:
    for name, result in table.results().items():
        record.write(tmp_path / name, result)
        assert (tmp_path / name).read_text() == (record.RESULTS / f"{name}.json").read_text()


def test_a_result_names_a_commit_or_the_commit_that_recorded_it() -> None:
    for name, result in table.results().items():
        assert result.provenance.commit or result.provenance.recorded_in, name


def test_each_command_of_a_benchmark_names_one_that_exists() -> None:
    commands = [result.command or "" for result in table.results().values()]
    named = {name for line in commands for name in re.findall(r"-m benchmarks\.(\w+)", line)}
    assert "throughput" in named
    assert not [name for name in named if not (BENCHMARKS / f"{name}.py").exists()]


@pytest.mark.nightly
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_benchmark_starts_and_explains_itself(name: str) -> None:
    command = [sys.executable, "-m", f"benchmarks.{name}", "--help"]
    ran = subprocess.run(command, cwd=record.ROOT, capture_output=True, text=True, check=False)
    if "No module named 'torch'" in ran.stderr:
        pytest.skip("PyTorch is not installed")
    assert ran.returncode == 0, ran.stderr
    assert name in ran.stdout


def test_provenance_is_found_on_this_host() -> None:
    found = record.provenance()
    assert found.date
    assert found.processor
    assert found.cpus
    assert found.numpy
    assert found.blas


def test_outside_of_a_repository_the_commit_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "ROOT", tmp_path)
    assert record.commit() is None


def test_a_changed_file_makes_the_commit_dirty_but_a_saved_result_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "ROOT", tmp_path)
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b")
    for arguments in (("init", "-q"), ("commit", "-q", "--allow-empty", "-m", "first")):
        subprocess.run([*git, *arguments], cwd=tmp_path, check=True)
    record.write(tmp_path / "docs" / "results" / "a.json", BenchmarkResult("A", None, UNKNOWN, ()))
    clean = record.commit()
    assert clean
    (tmp_path / "code.py").touch()
    assert record.commit() == f"{clean} dirty"


def test_an_unknown_processor_file_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    record.processor(path)
    path.write_text("model name : A\ncpu family : 26\nmodel : 2\n\nmodel name : B\n")
    assert record.processor(path) == "A (family 26, model 2)"


@pytest.mark.parametrize("save", [["--save"], ["--save", "name"], ["--save=name"]])
def test_the_recorded_command_is_the_given_one_without_save(save: list[str]) -> None:
    given = ["benchmarks/mnist.py", "--steps", "5", *save, "--rules", "cdni"]
    assert record.command(given) == "python -m benchmarks.mnist --steps 5 --rules cdni"


def test_save_writes_the_figures_and_where_they_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(sys, "argv", ["benchmarks/slow_layer.py", "--save"])
    record.save(None, "Title", [])
    assert not record.RESULTS.exists()
    figures = (record.median("rate", [1.0, 4.0, 2.0], "/s"), record.mean("error", [1.0, 2.0]))
    record.save("", "Title", figures)
    found = record.read(tmp_path / "results" / "slow-layer.json")
    assert found.figures == figures
    assert found.command == "python -m benchmarks.slow_layer"
    assert found.provenance == record.provenance()


def test_median_and_mean_have_a_range_only_of_several_values() -> None:
    assert record.median("a", [3.0, 1.0, 2.0]) == Figure("a", 2.0, low=1.0, high=3.0)
    assert record.mean("a", [1.0, 3.0]) == Figure("a", 2.0, low=1.0, high=3.0, standard_error=1.0)
    assert record.mean("a", [2.0]) == record.median("a", [2.0]) == Figure("a", 2.0)


def test_a_row_shows_the_figure_its_range_and_target_and_only_what_is_known() -> None:
    figure = Figure("rate", 12345.6, "samples/s", 1.0, 20000.0, target="≥ 1")
    plain = Figure("share", 0.98765, standard_error=0.0123)
    text = table.page({"a": BenchmarkResult("A", None, replace(UNKNOWN, cpus=2), (figure, plain))})
    assert "\n2 cores.\n" in text
    assert "| rate | 12,346 samples/s | 1 … 20,000 | ≥ 1 |" in text
    assert "| share | 0.988 ± 0.012 |  |  |" in text
