"""Foreign text on the terminal cannot move the cursor, hide, or forge a line."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import cli
from coordinator.console.columns import Column, Phrases, Table
from coordinator.console.terminal import Terminal
from coordinator.control.tables import host_table
from protocol.printable import printable
from tests.terminal_help import rendered

if TYPE_CHECKING:
    from tests.dni import Dni

HOSTILE = {
    "\x1b[31mred": r"\x1b[31mred",
    "\x1b]0;title\x07": r"\x1b]0;title\x07",
    "a\rb": r"a\rb",
    "a\nb\tc": r"a\nb\tc",
    "\x9b2J\x7f": r"\x9b2J\x7f",
    "exe\u202egnp.": r"exe\u202egnp.",
    "\u2066x\u2069": r"\u2066x\u2069",
    "a\u2028b\u2029c": r"a\u2028b\u2029c",
    "a\u200bb\ufeffc\u00ad": r"a\u200bb\ufeffc\xad",
    "caf\udce9": r"caf\udce9",
    "\U000e0041": r"\U000e0041",
}


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_control_and_hidden_characters_become_visible_escapes(text: str) -> None:
    assert printable(text) == HOSTILE[text]


@pytest.mark.parametrize("text", ["", "ascii", "λ and é", "日本", "12\xa0µs", r"C:\new", "👍"])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@given(st.text(st.characters(exclude_categories=())))
def test_no_control_or_hidden_character_is_left(text: str) -> None:
    kept = {unicodedata.category(c) for c in printable(text)}
    assert not kept & {"Cc", "Cf", "Cs", "Zl", "Zp"}


# -- on the terminal


@pytest.mark.parametrize("forged", ["\ncompleted: 9 steps", "\r\ncompleted: 9", "\x1b[1Acompleted"])
def test_foreign_text_cannot_forge_a_line_of_output(
    forged: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Terminal().print_text(f"error: layer0 died{forged}")
    output = capsys.readouterr().out
    assert "\x1b" not in output
    assert "\r" not in output
    first, *more = output.splitlines()
    assert first.startswith("error: layer0 died")
    assert all(line.startswith("  | ") for line in more)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("é☃λ", "é☃λ"),
        ("a\udcff", "a\\udcff"),
        ("é\udcc3", "é\\udcc3"),
        ("\ud800é", "\\ud800é"),
    ],
)
def test_undecoded_bytes_of_a_locale_are_decoded_as_utf_8(text: str, shown: str) -> None:
    undecoded = text.encode("utf-8", "surrogateescape") if "\ud800" not in text else b""
    if undecoded:
        assert printable(undecoded.decode("ascii", "surrogateescape")) == shown
    assert printable(text) == shown


@pytest.mark.parametrize("width", [20, 40, 60])
def test_a_line_that_is_too_long_continues_indented(width: int) -> None:
    terminal = Terminal()
    terminal.width = width
    output = "error: ada, completed: 9 steps in 12.5 s, 1,200 samples/s\nlog: 3 MiB, completed: 9"
    with terminal.capture() as capture:
        terminal.print_text(output)
    first, *more = capture.get().splitlines()
    assert first.startswith("error: ada,")
    assert all(line.startswith(("    ", "  | ")) for line in more)
    assert "9 steps in 12.5 s," in capture.get()


@pytest.mark.parametrize("text", ["[red]a[/red]", ":car:", "[/b][bold", "{x} %s"])
def test_text_is_not_interpreted_as_markup(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().print_text(text)
    Terminal().show(Table([Column("host")], [[text]]), Phrases([text]))
    assert capsys.readouterr().out.count(text) == 3


@pytest.mark.parametrize("host", ["ada\nnode9  forged", "\x1b[2Jada", "ada\u202e", "[red]ada"])
def test_a_host_has_one_line_in_the_table_whatever_its_name_is(host: str) -> None:
    agent = {"name": "host1", "host": host, "address": host, "slots": 1, "cpus": 1}
    agents = [agent | {"workers": {}, "silent_seconds": 0.1}]
    found = {"endpoint": host, "state": "training", "hosts": agents}
    lines = rendered(host_table(found))
    assert len(lines) == 4
    assert printable(host) in lines[2]
    assert lines[3] == f"head at {printable(host)}"


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "no\x1b[31m\nsuch.toml"],
        ["evaluate", "run\r\nError: none"],
        ["run", "--no\n\x1b[2J"],
        ["no\x1b\nsuch"],
        ["trace", "stats", "run\u202e\n"],
        ["check", "-o", "a\nb\x1b=3"],
        ["data", "get", "mn\x07ist\n"],
        ["join", "dni2:\x1b[1A\n"],
    ],
    ids=ascii,
)
def test_an_error_that_quotes_the_command_line_is_one_line(arguments: list[str]) -> None:
    shown = CliRunner().invoke(cli.main, arguments)
    assert shown.exit_code == 2
    (line,) = (line for line in shown.stderr.splitlines() if "Error" in line)
    assert line.startswith("Error: ")
    assert line == shown.stderr.splitlines()[-1]
    assert all(printable(line) == line for line in shown.stderr.split("\n"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["completed: 9 steps\n", "99 %\rcompleted: 9 steps\n", "\x1b[2Jcompleted: 9\n"]
)
def test_the_log_of_a_dead_worker_cannot_be_mistaken_for_the_outcome(dni: Dni, text: str) -> None:
    code = f"if worker == 'layer1':\n    print({text!r}, flush=True)\n    import os; os._exit(3)\n"
    done = dni("run", "tiny.toml", environment=dni.sitecustomize(code))
    assert done.returncode == 1
    assert "error: layer1 exited with status 3" in done.stdout
    assert "\x1b" not in done.stdout
    output = [line for line in done.stdout.splitlines() if "completed" in line]
    assert output
    assert all(line.startswith("  | ") for line in output)
