"""Engines of other packages are found by their entry points."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cli
from coordinator.cluster.launchers.installed import installed_options
from coordinator.lifecycle.engine import ENGINE_API
from protocol import RunError
from tests.traced import tiny

MODULE = """\
from dataclasses import dataclass
from coordinator.engines.options import option
from protocol import RunError

@dataclass(frozen=True)
class FarmOptions:
    field: str = option("Where the workers run.")
    rows: int = option("How many of them.", default=2)

class Farm:
    api_version = {version}
    options_type = FarmOptions
    one_host = False
    stop_seconds = 1.0

    def __init__(self, options):
        self.options = options

    def check(self, pipeline):
        raise RunError(f"{{self.options.field}} has {{self.options.rows}} rows")
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages; the module `farm` is forgotten afterwards."""
    folder = tmp_path / "packages"
    information = folder / "farm-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: farm\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[dni.engines]\nfarm = farm:Farm\n")
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    sys.modules.pop("farm", None)


def run_on_farm(run_dir: Path, **options: object) -> str:
    """The error with which a run on the engine ends."""
    with pytest.raises(RunError) as caught:
        cli.run(tiny(), engine="farm", engine_options=options, run_dir=run_dir)
    assert not run_dir.exists()
    return str(caught.value)


def test_an_installed_engine_runs_with_its_own_typed_options(
    packages: Path, tmp_path: Path
) -> None:
    (packages / "farm.py").write_text(MODULE.format(version=ENGINE_API))
    run = tmp_path / "run"
    assert run_on_farm(run, field="north", rows="3") == "north has 3 rows"
    assert run_on_farm(run, rows=3) == "engine farm: needs --field"
    assert "has no option --feild; did you mean '--field'" in run_on_farm(run, feild="north")
    assert "--rows: 'x' is not a whole number" in run_on_farm(run, field="north", rows="x")


def test_the_options_of_an_installed_engine_are_on_the_command_line(packages: Path) -> None:
    (packages / "farm.py").write_text(MODULE.format(version=ENGINE_API))
    found = [(name, made.flag) for name, made in installed_options()]
    assert {("farm", "--field"), ("farm", "--rows")} <= set(found)


def test_an_engine_of_another_version_of_the_interface_is_refused(
    packages: Path, tmp_path: Path
) -> None:
    (packages / "farm.py").write_text(MODULE.format(version=99))
    text = run_on_farm(tmp_path / "run", field="north")
    assert text.startswith("engine farm: farm:Farm is written for engine interface 99")


def test_an_engine_that_cannot_be_imported_is_an_error_of_one_line(
    packages: Path, tmp_path: Path
) -> None:
    (packages / "farm.py").write_text("import no_such_library\n")
    assert "cannot be loaded: No module named 'no_such_library'" in run_on_farm(tmp_path / "run")


def test_an_unknown_engine_is_refused_with_the_known_ones(packages: Path, tmp_path: Path) -> None:
    (packages / "farm.py").write_text(MODULE.format(version=ENGINE_API))
    with pytest.raises(RunError, match="unknown engine 'far'; did you mean 'farm'"):
        cli.run(tiny(), engine="far", run_dir=tmp_path / "run")
