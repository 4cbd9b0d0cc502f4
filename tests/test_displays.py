"""The picture of a run that goes on: a bar with room, and figures that are whole."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from coordinator.console.terminal import Terminal
from coordinator.observers.terminal import LiveDisplay, PlainDisplay, choose_display
from tests.terminal_help import WIDTHS, on_terminal
from tests.test_columns import stats

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Dni


def drawn(width: int, height: int = 24) -> list[str]:
    """The last picture of a run with large numbers on a terminal of this size."""
    file = io.StringIO()
    console = Console(file=file, width=width, height=height, force_terminal=True, color_system=None)
    display = LiveDisplay(console)
    display.on_begin(stats(), 1)
    display.on_tick(stats())
    text = file.getvalue()
    display.on_end()
    picture = text[text.rindex("step ") :]
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", picture).splitlines()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_bar_has_room_and_the_figures_are_whole(width: int) -> None:
    lines = drawn(width)
    assert max(map(len, lines)) <= width
    assert lines[0].count("━") >= 20
    assert re.match(r"step +(0|10,000,000)/1,000 ", lines[0])
    assert lines[1] == "loss -  test error 1.00 %  1,200,075 samples/s"
    assert lines[2].startswith("stage")


@pytest.mark.parametrize(("height", "layers"), [(24, 13), (12, 6), (5, 0)])
def test_a_picture_is_no_higher_than_its_terminal(height: int, layers: int) -> None:
    lines = drawn(80, height)
    assert sum(line.startswith(("source", "layer")) for line in lines) == layers
    assert (" more; " in lines[-1]) == (0 < layers < 13)


@pytest.mark.parametrize("columns", WIDTHS)
def test_a_run_on_a_terminal_cuts_nothing(dni: Dni, columns: int) -> None:
    words = ["run", "tiny.toml", "--engine", "inline", "--run-dir", "run"]
    status, text = on_terminal(words, dni.home, dni.environment, columns)
    assert status == 0
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= columns
    assert re.search(r"samples/s,\s+train loss [\d.]+,\s+test error [\d.]+ %\n", text)


@pytest.mark.parametrize(
    "words", [["check", "tiny.toml"], ["data", "list"], ["evaluate", "nowhere"]], ids=str
)
@pytest.mark.parametrize("environment", [{"FORCE_COLOR": "1"}, {"COLUMNS": "40"}, {"TERM": "dumb"}])
def test_a_pipe_is_a_pipe_whatever_the_environment_says(
    dni: Dni, words: list[str], environment: dict[str, str]
) -> None:
    plain, other = dni(*words), dni(*words, environment=environment)
    assert re.sub(r"\x1b\[[0-9;]*m", "", other.stdout) == plain.stdout
    assert other.stderr == plain.stderr


@pytest.mark.parametrize("size", ["0", "000", "-1", "²", "1e3", "9" * 5000, ""])
def test_a_size_that_cannot_be_is_no_size(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", size)
    monkeypatch.setenv("LINES", size)
    console = Terminal()
    assert "COLUMNS" not in console._environ
    assert console.height > 1


@pytest.mark.parametrize("words", [["check"], ["run", "--engine", "inline", "--run-dir", "run"]])
def test_no_columns_are_those_of_the_terminal(dni: Dni, words: list[str]) -> None:
    environment = {**dni.environment, "COLUMNS": "0", "LINES": "0"}
    whole = [words[0], "tiny.toml", *words[1:]]
    status, text = on_terminal(whole, dni.home, environment, 80)
    assert status == 0
    assert "layer2" in text
    assert 60 < max(map(len, text.splitlines())) <= 80


def test_a_pipe_gets_lines_and_no_picture(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(choose_display(Terminal()), PlainDisplay)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert isinstance(choose_display(Terminal()), PlainDisplay)
    assert capsys.readouterr().out == ""


def test_a_long_path_is_printed_in_one_piece(dni: Dni, tmp_path: Path) -> None:
    folder = "a-long-folder-name-that-goes-on/" * 4 + "run"
    words = ["run", "tiny.toml", "--engine", "inline", "--run-dir", folder]
    status, text = on_terminal(words, tmp_path, dni.environment, 60)
    assert status == 0
    assert f"    {folder}" in text.splitlines()
