"""The suffix of an output file must not be that of another format."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

import cli
from coordinator.traces.export import FORMS as EXPORTS
from coordinator.traces.export.suffix import check_suffix
from protocol import SpecError
from tests.test_commands import mistake
from tests.traced import ran, tiny

FORMS = (*EXPORTS, "svg", "html")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a completed run."""
    folder = tmp_path_factory.mktemp("suffixes") / "run"
    ran(tiny(), folder)
    return folder


def done(run: Path, folder: Path, arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `dni trace`; `{run}` and `{out}` in `arguments` are the run and an output file."""
    filled = [argument.format(run=run, out=folder / "a") for argument in arguments.split()]
    shown = CliRunner().invoke(cli.main, ["trace", *filled], catch_exceptions=False)
    return subprocess.CompletedProcess("dni", shown.exit_code, shown.stdout, shown.stderr)


@pytest.mark.parametrize(
    ("arguments", "hint"),
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
        ("timeline {run} --svg {out}.jfif", "name it a.svg"),
        ("timeline {run} --svg {out}.avif", "name it a.svg"),
        ("timeline {run} --svg {out}.doc", "name it a.svg"),
        ("timeline {run} --svg {out}.txt", "name it a.svg"),
        ("timeline {run} --html {out}.js", "name it a.html"),
        ("timeline {run} --svg {out}.svg.png", "name it a.svg"),
        ("export {run} --to csv {out}.ods", "name it a.csv"),
        ("export {run} --to csv {out}.csv.csv.zip", "name it a.csv"),
        ("export {run} --to chrome {out}.json.gz", "name it a.json"),
        ("export {run} --to jsonl {out}.tar.gz", "name it a.jsonl"),
    ],
)
def test_a_suffix_of_another_format_is_refused(
    run: Path, tmp_path: Path, arguments: str, hint: str
) -> None:
    mistake(done(run, tmp_path, arguments), hint)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", [".png", "a.png ", "a.png.", "a.PNG . ", ".tar.gz", "a.v1.heic"])
def test_a_suffix_is_found_behind_blanks_dots_and_in_hidden_files(name: str, form: str) -> None:
    with pytest.raises(SpecError, match=r"name it (a|a.v1|trace)\.(?!png|heic)\w+$"):
        check_suffix("--to", form, Path(name))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["a", "run-0.5", "a.v2", "2026.01.02", "x.y-z", "a b", "é.☃"])
def test_a_dot_in_a_name_is_not_always_a_suffix(name: str, form: str) -> None:
    check_suffix("--to", form, Path(name))


@pytest.mark.parametrize(
    "arguments",
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
def test_any_other_suffix_is_accepted(run: Path, tmp_path: Path, arguments: str) -> None:
    assert done(run, tmp_path, arguments).returncode == 0
    assert [*tmp_path.iterdir()]
