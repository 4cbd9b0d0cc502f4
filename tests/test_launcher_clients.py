"""Client programs: what they printed, whether their agents joined, and how they ended."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from coordinator.cluster.launchers.clients import Clients, query
from coordinator.cluster.launchers.launcher import last_line
from tests.dni import wait_until

SILENT = "import sys; sys.stdin.read()"
PRINTS = "import sys; print({!r}, flush=True); sys.stdin.read()"


@pytest.fixture
def clients() -> Iterator[Clients]:
    made = Clients()
    with closing(made):
        yield made


def start(clients: Clients, name: str, code: str) -> None:
    clients.start(name, [sys.executable, "-c", code], "token")


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (SILENT, "no output"),
        (PRINTS.format("Permission?"), "Permission?"),
        (PRINTS.format("one\ntwo"), "two"),
    ],
)
def test_a_client_whose_agent_has_not_joined_is_reported_with_its_last_output(
    clients: Clients, code: str, line: str
) -> None:
    start(clients, "a", code)
    wait_until(lambda: clients.last_output() == {"a": line}, "it has printed that")
    assert clients.not_joined() == ["a"]
    assert clients.ended() == []


def test_a_client_whose_agent_has_joined_is_not_reported(clients: Clients) -> None:
    start(clients, "a", PRINTS.format("Welcome!\njoined tcp://10.0.0.1:5701 as host1; waiting"))
    start(clients, "b", SILENT)
    wait_until(lambda: clients.not_joined() == ["b"], "one has joined")


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (1, "a: ended with status 1: no"),
        (
            127,
            "a: ended with status 127; --remote-command sets the command that starts dni there: no",
        ),
        (255, "a: ended with status 255: no"),
    ],
)
def test_a_client_that_ended_is_reported_with_its_status_and_last_output(
    clients: Clients, status: int, line: str
) -> None:
    start(clients, "a", f"import sys; print('no', flush=True); sys.exit({status})")
    wait_until(clients.ended, "it has ended")
    assert clients.ended() == [line]


def test_reading_the_output_of_a_client_does_not_move_where_it_writes(clients: Clients) -> None:
    code = "import sys, time\nfor n in range(200): print('line', n, flush=True)\nsys.exit(3)"
    start(clients, "a", code)

    def ended() -> list[str]:
        clients.last_output()
        return clients.ended()

    wait_until(ended, "it has ended")
    assert clients.ended() == ["a: ended with status 3: line 199"]


@pytest.mark.parametrize(
    ("text", "line"), [("\n\nand so\n", "and so"), (" \n", "no output"), ("a\nb", "b")]
)
def test_the_last_line_is_the_last_that_is_not_blank(text: str, line: str) -> None:
    assert last_line(text) == line


@pytest.mark.parametrize("printed", [b"caf\xe9", b"\xff\xfe", "λ".encode()])
def test_the_output_of_a_queried_program_need_not_be_utf8(printed: bytes, tmp_path: Path) -> None:
    (tmp_path / "printed").write_bytes(printed)
    assert os.fsencode(query("cat", str(tmp_path / "printed"))) == printed
