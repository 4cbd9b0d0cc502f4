"""Output to a terminal, a pipe or a file never ends a run or a command."""

from __future__ import annotations

import errno
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import cli
from coordinator.console.standard_streams import tolerate_characters, transliterate
from coordinator.console.terminal import Terminal
from coordinator.observers.observer import Observer
from coordinator.observers.run_stats import RunStats
from coordinator.observers.terminal import LiveDisplay, PlainDisplay
from coordinator.traces.timeline.style import ACTION_STYLES, KIND_STYLES
from protocol import read_pipeline
from tests.dni import COMMAND
from tests.terminal_help import on_terminal
from tests.traced import ran, tiny

if TYPE_CHECKING:
    from tests.dni import Dni

ENCODINGS = ("ascii", "latin-1", "cp1252", "euc-jp", "gbk")
INLINE = ("--engine", "inline", "-o", "train.steps=20")
NO_UTF8 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


# -- spelling


@pytest.mark.parametrize("encoding", [*ENCODINGS, "utf-8"])
@pytest.mark.parametrize(
    "text", ["1.2 ± 0.3 µs", "█▒▓ → λ é", "0 … 2 \N{MULTIPLICATION SIGN} 3", "caf\udce9"]
)
def test_every_text_can_be_encoded_without_question_marks(text: str, encoding: str) -> None:
    made = transliterate(text, encoding)
    made.encode(encoding)
    assert "?" not in made


@pytest.mark.parametrize(
    ("text", "ascii"),
    [
        ("12 µs", "12 us"),
        ("1.2 ± 0.3", "1.2 +- 0.3"),
        ("0 … 2", "0 ... 2"),
        ("a → b", "a -> b"),
        ("2 \N{MULTIPLICATION SIGN} 3", "2 x 3"),
        ("λ", r"\u03bb"),
    ],
)
def test_figures_keep_their_units_in_ascii(text: str, ascii: str) -> None:  # noqa: A002
    assert transliterate(text, "ascii") == ascii
    assert transliterate(text, "utf-8") == text


def test_characters_of_a_timeline_in_ascii_differ_and_have_one_column() -> None:
    boxes = [transliterate(style.character, "ascii") for style in ACTION_STYLES.values()]
    assert len(set(boxes)) == len(boxes)
    assert all(len(character) == 1 for character in (*boxes, *(transliterate("·↕│├└─━", "ascii"))))
    assert [
        transliterate(KIND_STYLES[kind].character, "ascii") for kind in ("activation", "gradient")
    ] == [
        "^",
        "v",
    ]


# -- commands


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has ended."""
    folder = tmp_path_factory.mktemp("traced") / "run"
    ran(tiny(), folder)
    return folder


def printed(dni: Dni, encoding: str, *arguments: str) -> str:
    """What `dni` prints where its streams have `encoding`, and raise for what it lacks."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=dni.home,
        env={**dni.environment, "PYTHONIOENCODING": f"{encoding}:strict"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.decode(encoding)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_run_output_works_in_any_encoding(dni: Dni, encoding: str) -> None:
    folder = f"run-{encoding}-é"
    arguments = ("run", "tiny.toml", *INLINE, "-o", "name='λ…'", "--run-dir", folder)
    shown = printed(dni, encoding, *arguments)
    assert "completed: 20 steps" in shown
    assert transliterate("λ…: cdni", encoding) in shown
    assert len([*(dni.home / folder / "weights").iterdir()]) == 3
    text = (dni.home / folder / "pipeline.toml").read_text("utf-8")
    assert 'name = "λ…"' in text


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    ("arguments", "unit"),
    [("stats", "µs"), ("messages --limit 5", "µs"), ("batch 5", "µs"), ("timeline", "█")],
)
def test_trace_output_works_in_any_encoding(
    dni: Dni, traced: Path, encoding: str, arguments: str, unit: str
) -> None:
    argument, *rest = arguments.split()
    shown = printed(dni, encoding, "trace", argument, str(traced), *rest)
    assert transliterate(unit, encoding) in shown
    assert "?" not in shown


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_live_display_works_in_any_encoding(dni: Dni, encoding: str) -> None:
    environment = {**dni.environment, "PYTHONIOENCODING": f"{encoding}:strict"}
    arguments = ["run", "tiny.toml", *INLINE, "--run-dir", "run"]
    status, shown = on_terminal(arguments, dni.home, environment, 60)
    assert (status, "completed: 20 steps" in shown) == (0, True)
    assert max(map(len, shown.splitlines())) <= 60
    assert len([*(dni.home / "run" / "weights").iterdir()]) == 3


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_run_completes_without_standard_streams(dni: Dni, closed: str) -> None:
    arguments = ["run", "tiny.toml", *INLINE, "--run-dir", "run"]
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", *COMMAND, *arguments]
    done = subprocess.run(command, cwd=dni.home, env=dni.environment, timeout=60, check=False)
    assert done.returncode == 0
    summary = json.loads((dni.home / "run" / "summary.json").read_text("utf-8"))
    assert summary["outcome"] == "completed"
    assert len([*(dni.home / "run" / "weights").iterdir()]) == 3


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&-"])
def test_no_file_gets_the_number_of_a_closed_stream(closed: str, tmp_path: Path) -> None:
    code = (
        "import os, sys; from coordinator.console import standard_streams; "
        "standard_streams.prepare_streams(); "
        "number = os.open(os.devnull, os.O_RDONLY); print('text'); "
        f"open({str(tmp_path / 'number')!r}, 'w', encoding='utf-8').write(str(number))"
    )
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", code]
    here = Path(__file__).parent.parent
    subprocess.run(command, cwd=here, capture_output=True, timeout=60, check=True)
    assert int((tmp_path / "number").read_text("utf-8")) > 2


@pytest.mark.parametrize("arguments", ["--help", "check --help", "data list", "evaluate run"])
def test_full_disk_gives_an_exit_status(dni: Dni, arguments: str) -> None:
    command = ["sh", "-c", 'exec "$@" > /dev/full', "sh", *COMMAND, *arguments.split()]
    done = subprocess.run(
        command, cwd=dni.home, env=dni.environment, stderr=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode in (1, 2)
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", ["evaluate nowhere", "no-such-command", "run --engine nothing"]
)
def test_mistake_has_its_exit_status_without_standard_error(dni: Dni, arguments: str) -> None:
    command = ["sh", "-c", 'exec "$@" 2> /dev/full', "sh", *COMMAND, *arguments.split()]
    done = subprocess.run(command, cwd=dni.home, env=dni.environment, check=False)
    assert done.returncode == 2


# -- names of files


def test_a_run_folder_is_named_in_utf8_whatever_the_locale_is(dni: Dni) -> None:
    text = (dni.home / "tiny.toml").read_text("utf-8").replace('"tiny"', '"λ-é"')
    (dni.home / "tiny.toml").write_text(text, "utf-8")
    assert dni("run", "tiny.toml", *INLINE, environment=NO_UTF8).returncode == 0
    (folder,) = (dni.home / "runs").iterdir()
    assert folder.name.endswith("-λ-é")


@pytest.mark.parametrize("name", ["λ", "naïve", "日本"])
def test_name_on_the_command_line_is_utf8_in_every_locale(dni: Dni, name: str) -> None:
    arguments = ("run", "tiny.toml", *INLINE, "--run-dir", "run", "-o", f"name={name}")
    assert dni(*arguments, environment=NO_UTF8).returncode == 0
    assert read_pipeline(dni.home / "run" / "pipeline.toml").name == name


@pytest.mark.parametrize("name", ["caf\udce9", "a\nb", "a\x1b[2Jb"])
def test_folder_name_is_printed_with_escapes(dni: Dni, name: str) -> None:
    done = dni("run", "tiny.toml", *INLINE, "--run-dir", name)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert (dni.home / name / "summary.json").is_file()


# -- in Python


class Failing(Observer):
    """An observer that raises an error at each tick."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def on_tick(self, stats: RunStats) -> None:  # noqa: ARG002
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        UnicodeEncodeError("ascii", "λ", 0, 1, "no such letter"),
        OSError(errno.ENOSPC, "No space left on device"),
        ValueError("I/O operation on closed file."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_observer_that_cannot_print_does_not_end_a_run(error: Exception, tmp_path: Path) -> None:
    result = cli.run(tiny(), engine="inline", run_dir=tmp_path / "run", observers=[Failing(error)])
    assert result.end.outcome == "completed"


def test_observer_with_a_bug_gives_a_warning(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="the observer Failing failed: KeyError"):
        result = cli.run(
            tiny(), engine="inline", run_dir=tmp_path / "run", observers=[Failing(KeyError("x"))]
        )
    assert result.end.outcome == "completed"


@pytest.mark.parametrize("display", [PlainDisplay, LiveDisplay])
def test_displays_print_to_an_ascii_stream(
    display: type[PlainDisplay | LiveDisplay], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = io.BytesIO()
    stream = io.TextIOWrapper(data, "ascii", errors="strict")
    monkeypatch.setattr(sys, "stdout", stream)
    observers = [display(Terminal())]
    result = cli.run(tiny(), engine="inline", run_dir=tmp_path / "run", observers=observers)
    stream.flush()
    assert result.end.outcome == "completed"
    assert b"pipeline: cdni" in data.getvalue()


@pytest.mark.parametrize("stream", [None, io.StringIO(), object()])
def test_stream_without_reconfigure_is_left_unchanged(stream: object) -> None:
    tolerate_characters(stream)


def test_try_print_ignores_a_closed_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    terminal = Terminal()
    terminal.try_print("one")
    stream.close()
    terminal.try_print("two")
    monkeypatch.setattr(sys, "stdout", None)
    Terminal().try_print("three")
