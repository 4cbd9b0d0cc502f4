"""A file is what its name says: no picture or table is written under the name of another format."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

import cli
from tests.test_commands import mistake
from tests.traced import ran, tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has ended."""
    folder = tmp_path_factory.mktemp("suffixes") / "run"
    ran(tiny(), folder)
    return folder


def done(run: Path, folder: Path, words: str) -> subprocess.CompletedProcess[str]:
    """`dni trace` with `words`, with the run and a folder to write to put in."""
    filled = [word.format(run=run, out=folder / "a") for word in words.split()]
    shown = CliRunner().invoke(cli.main, ["trace", *filled], catch_exceptions=False)
    return subprocess.CompletedProcess("dni", shown.exit_code, shown.stdout, shown.stderr)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("timeline {run} --svg {out}.png", "name it a.svg"),
        ("timeline {run} --svg {out}.PDF", "name it a.svg"),
        ("timeline {run} --svg {out}.html", "name it a.svg"),
        ("timeline {run} --html {out}.svg", "name it a.html"),
        ("timeline {run} --html {out}.json", "name it a.html"),
        ("export {run} --to csv {out}.json", "name it a.csv"),
        ("export {run} --to csv {out}.csv.gz", "name it a.csv"),
        ("export {run} --to perfetto {out}.csv", "name it a.pftrace"),
        ("export {run} --to chrome {out}.jsonl", "name it a.json"),
        ("export {run} --to otlp {out}.pb", "name it a.jsonl"),
        ("export {run} --to jsonl {out}.xlsx", "name it a.jsonl"),
    ],
)
def test_a_name_that_promises_another_format_is_refused(
    run: Path, tmp_path: Path, words: str, told: str
) -> None:
    mistake(done(run, tmp_path, words), told)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    "words",
    [
        "timeline {run} --svg {out}.svg",
        "timeline {run} --svg {out}.SVG --html {out}.htm",
        "timeline {run} --svg {out}",
        "timeline {run} --html {out}.v1.2",
        "export {run} --to csv {out}.txt",
        "export {run} --to chrome {out}.json",
        "export {run} --to otlp {out}.json",
        "export {run} --to perfetto {out}.trace",
    ],
)
def test_any_other_name_is_taken(run: Path, tmp_path: Path, words: str) -> None:
    assert done(run, tmp_path, words).returncode == 0
    assert [*tmp_path.iterdir()]
