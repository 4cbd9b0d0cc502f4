"""What cannot be printed is told, with an exit status that a script sees."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import COMMAND

if TYPE_CHECKING:
    from tests.conftest import Dni

FULL = Path("/dev/full")
NO_ROOM = "No space left on device"

pytestmark = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")


def printed_to_a_full_disk(dni: Dni, *words: str) -> tuple[int, str]:
    """Exit status and standard error of `dni` with `words`."""
    with FULL.open("w") as full:
        done = subprocess.run(
            [*COMMAND, *words],
            cwd=dni.home,
            env=dni.environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    return done.returncode, done.stderr


def test_a_summary_that_was_not_printed_is_no_success(dni: Dni) -> None:
    words = ("run", "tiny.toml", "--engine", "inline", "--run-dir", "run", "--json")
    status, said = printed_to_a_full_disk(dni, *words, "-o", "train.steps=20")
    assert status == 1
    assert f"error: the summary was not printed: {NO_ROOM}" in said
    assert "completed: 20 steps" in said
    assert json.loads((dni.home / "run" / "summary.json").read_text("utf-8"))["steps"] == 20


@pytest.mark.parametrize("words", [("check", "tiny.toml"), ("check", "tiny.toml", "--json")])
def test_other_words_end_with_one_line(dni: Dni, words: tuple[str, ...]) -> None:
    status, said = printed_to_a_full_disk(dni, *words)
    assert (status, said) == (1, f"Error: not all was printed: {NO_ROOM}\n")
