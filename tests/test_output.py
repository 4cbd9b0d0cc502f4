"""What cannot be printed is told, with an exit status that a script sees."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.dni import Dni

FULL = Path("/dev/full")
NO_ROOM = "No space left on device"

pytestmark = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")


def printed_to_a_full_disk(dni: Dni, *arguments: str) -> tuple[int, str]:
    """Exit status and standard error of `dni` with `arguments`."""
    with FULL.open("wb") as full:
        done = dni(*arguments, stdout=full)
    return done.returncode, done.stderr


def test_a_summary_that_was_not_printed_is_no_success(dni: Dni) -> None:
    arguments = ("run", "tiny.toml", "--engine", "inline", "--run-dir", "run", "--json")
    status, said = printed_to_a_full_disk(dni, *arguments, "-o", "train.steps=20")
    assert status == 1
    assert f"error: the summary was not printed: {NO_ROOM}" in said
    assert "completed: 20 steps" in said
    assert json.loads((dni.home / "run" / "summary.json").read_text("utf-8"))["steps"] == 20


@pytest.mark.parametrize("arguments", [("check", "tiny.toml"), ("check", "tiny.toml", "--json")])
def test_other_words_end_with_one_line(dni: Dni, arguments: tuple[str, ...]) -> None:
    status, said = printed_to_a_full_disk(dni, *arguments)
    assert (status, said) == (1, f"Error: the output is incomplete: {NO_ROOM}\n")


@contextmanager
def pipe_without_reader() -> Iterator[int]:
    """The writing end of a pipe whose reading end is closed."""
    ours, theirs = os.pipe()
    os.close(ours)
    yield theirs
    os.close(theirs)


SAID = [
    ["--help"],
    ["--version"],
    ["run", "--help"],
    ["check", "tiny.toml"],
    ["check", "tiny.toml", "--json"],
    ["data", "list"],
    ["data", "list", "--json"],
    ["data", "get", "digits"],
    ["trace", "stats", "run", "--json"],
    ["trace", "messages", "run"],
    ["trace", "messages", "run", "--json"],
    ["trace", "lost", "run", "--json"],
    ["trace", "batch", "run", "7"],
    ["trace", "diff", "run", "run", "--json"],
    ["trace", "timeline", "run"],
    ["trace", "export", "run", "--to", "csv", "-"],
    ["evaluate", "run", "--json"],
    ["run", "tiny.toml", "--engine", "inline", "--json"],
]


@pytest.fixture
def ended_run(dni: Dni) -> Dni:
    """A run that has ended, in the folder `run`."""
    dni("run", "tiny.toml", "--engine", "inline", "--run-dir", "run")
    return dni


def test_a_reader_that_goes_away_is_success_and_silence(ended_run: Dni) -> None:
    with pipe_without_reader() as pipe:
        for arguments in SAID:
            done = ended_run(*arguments, stdout=pipe)
            assert done.returncode == 0, arguments
            assert "Broken pipe" not in done.stderr, arguments
            assert "Exception" not in done.stderr, arguments


def test_a_mistake_is_one_whoever_reads_of_it(ended_run: Dni) -> None:
    with pipe_without_reader() as pipe:
        for arguments in (
            ["check", "no.toml"],
            ["evaluate", "nowhere", "--json"],
            ["--no-such-option"],
        ):
            assert ended_run(*arguments, stdout=pipe, stderr=pipe).returncode == 2


def test_only_standard_streams_without_a_reader_are_dropped() -> None:
    ours, theirs = os.pipe()
    module = "coordinator.console.standard_streams"
    code = f"from {module} import discard_closed_outputs as ask; raise SystemExit(ask())"
    for closed, expected in ((False, 0), (True, 1)):
        if closed:
            os.close(ours)
        arguments = [sys.executable, "-c", code]
        assert subprocess.run(arguments, stdout=theirs, check=False).returncode == expected
    os.close(theirs)
