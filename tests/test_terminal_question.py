"""A question on the terminal of `dni up`, answered by a line."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from tests.dni import wait_until

QUESTION_SCRIPT = """
from coordinator.commands.cluster_parsing import terminal_question
import time
question = terminal_question(lambda text: print(text, flush=True))
print("ready", flush=True)
if question is None:
    raise SystemExit("no terminal")
input_before = question.answer()
question.ask("well?")
deadline = time.monotonic() + 20
while time.monotonic() < deadline and (answer := question.answer()) is None:
    time.sleep(0.01)
print("answered", input_before, answer, "end", flush=True)
"""


@pytest.fixture
def terminal() -> Iterator[Callable[[str], str]]:
    """Ask on a terminal, type the answer, and return what was printed."""
    left: list[int] = []

    def ask(answer: str) -> str:
        pid, fd = pty.fork()
        if pid == 0:
            os.execv(sys.executable, [sys.executable, "-c", QUESTION_SCRIPT])
        left.append(fd)
        text = ""

        def read(until: str) -> bool:
            nonlocal text
            with suppress(OSError):
                text += os.read(fd, 4096).decode()
            return until in text

        wait_until(lambda: read("[y/N]"), "the question is printed")
        os.write(fd, answer.encode())
        wait_until(lambda: read("end"), "the answer is read")
        os.waitpid(pid, 0)
        return text

    yield ask
    for fd in left:
        os.close(fd)


@pytest.mark.parametrize(
    ("answer", "printed"),
    [("y\n", "answered None True"), ("YES\n", "answered None True"), ("\n", "answered None False")],
)
def test_a_line_on_the_terminal_answers_the_question(
    terminal: Callable[[str], str], answer: str, printed: str
) -> None:
    assert printed in terminal(answer)


@pytest.mark.parametrize("stdin", [subprocess.DEVNULL, subprocess.PIPE])
def test_without_a_terminal_there_is_no_question(stdin: int) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", QUESTION_SCRIPT],
        stdin=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "no terminal" in ran.stderr
