"""The displays of a run in progress fit their terminal and never cut a number."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from coordinator.console.terminal import Terminal
from coordinator.observers.terminal import LiveDisplay, PlainDisplay, choose_display
from tests.table_samples import sample_stats
from tests.terminal_help import TERMINAL_COLUMNS, on_terminal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.dni import Dni


def drawn(width: int, height: int = 24) -> list[str]:
    """The last live display of a run with large numbers on a terminal of this size."""
    file = io.StringIO()
    console = Console(file=file, width=width, height=height, force_terminal=True, color_system=None)
    display = LiveDisplay(console)
    display.on_begin(sample_stats(), 1)
    display.on_tick(sample_stats())
    text = file.getvalue()
    display.on_end()
    last = text[text.rindex("step ") :]
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", last).splitlines()


@pytest.mark.parametrize("width", TERMINAL_COLUMNS)
def test_progress_bar_has_room_and_no_figure_is_cut(width: int) -> None:
    lines = drawn(width)
    assert max(map(len, lines)) <= width
    assert lines[0].count("━") >= 20
    assert re.match(r"step +(0|10,000,000)/1,000 ", lines[0])
    assert lines[1] == "loss -  test error 1.00 %  1,200,075 samples/s"
    assert lines[2].startswith("stage")


@pytest.mark.parametrize(("height", "layers"), [(24, 13), (12, 6), (5, 0)])
def test_live_display_is_no_higher_than_its_terminal(height: int, layers: int) -> None:
    lines = drawn(80, height)
    assert sum(line.startswith(("source", "layer")) for line in lines) == layers
    assert (" more; " in lines[-1]) == (0 < layers < 13)


@pytest.mark.parametrize("columns", TERMINAL_COLUMNS)
def test_run_on_a_terminal_cuts_nothing(dni: Dni, columns: int) -> None:
    arguments = ["run", "tiny.toml", "--engine", "inline", "--run-dir", "run"]
    status, text = on_terminal(arguments, dni.home, dni.environment, columns)
    assert status == 0
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= columns
    assert re.search(r"samples/s,\s+train loss [\d.]+,\s+test error [\d.]+ %\n", text)


@pytest.mark.parametrize(
    "arguments", [["check", "tiny.toml"], ["data", "list"], ["evaluate", "nowhere"]], ids=str
)
@pytest.mark.parametrize("environment", [{"FORCE_COLOR": "1"}, {"COLUMNS": "40"}, {"TERM": "dumb"}])
def test_environment_does_not_change_output_to_a_pipe(
    dni: Dni, arguments: list[str], environment: dict[str, str]
) -> None:
    plain, other = dni(*arguments), dni(*arguments, environment=environment)
    assert re.sub(r"\x1b\[[0-9;]*m", "", other.stdout) == plain.stdout
    assert other.stderr == plain.stderr


@pytest.mark.parametrize("size", ["0", "000", "-1", "²", "1e3", "9" * 5000, ""])
def test_impossible_terminal_size_is_ignored(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", size)
    monkeypatch.setenv("LINES", size)
    console = Terminal()
    assert console.width > 1
    assert console.height > 1


@pytest.mark.parametrize(
    "arguments", [["check"], ["run", "--engine", "inline", "--run-dir", "run"]]
)
def test_columns_of_0_use_the_size_of_the_terminal(dni: Dni, arguments: list[str]) -> None:
    environment = {**dni.environment, "COLUMNS": "0", "LINES": "0"}
    whole = [arguments[0], "tiny.toml", *arguments[1:]]
    status, text = on_terminal(whole, dni.home, environment, 80)
    assert status == 0
    assert "layer2" in text
    assert 60 < max(map(len, text.splitlines())) <= 80


def test_pipe_gets_a_plain_display(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(choose_display(Terminal()), PlainDisplay)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert isinstance(choose_display(Terminal()), PlainDisplay)
    assert capsys.readouterr().out == ""


def test_long_path_is_not_broken(dni: Dni, tmp_path: Path) -> None:
    folder = "a-long-folder-name-that-goes-on/" * 4 + "run"
    arguments = ["run", "tiny.toml", "--engine", "inline", "--run-dir", folder]
    status, text = on_terminal(arguments, tmp_path, dni.environment, 60)
    assert status == 0
    assert f"    {folder}" in text.splitlines()
