"""Programs at whose other end an agent runs: what they printed, and whether the agent joined."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from coordinator.cluster.launchers.clients import Clients
from tests.conftest import wait_until

SILENT = "import sys; sys.stdin.read()"
SAYS = "import sys; print({!r}, flush=True); sys.stdin.read()"


@pytest.fixture
def clients() -> Iterator[Clients]:
    made = Clients()
    with closing(made):
        yield made


def start(clients: Clients, name: str, code: str) -> None:
    clients.start(name, [sys.executable, "-c", code], "token")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (SILENT, "it said nothing"),
        (SAYS.format("Permission?"), "Permission?"),
        (SAYS.format("one\ntwo"), "two"),
    ],
)
def test_a_client_whose_agent_does_not_join_is_named_with_what_it_printed(
    clients: Clients, code: str, said: str
) -> None:
    start(clients, "a", code)
    wait_until(lambda: clients.printed() == {"a": said}, "it has printed that")
    assert clients.missing() == ["a"]
    assert clients.gone() == []


def test_a_client_whose_agent_joined_is_not_waited_for(clients: Clients) -> None:
    start(clients, "a", SAYS.format("Welcome!\njoined tcp://10.0.0.1:5701 as host1; waiting"))
    start(clients, "b", SILENT)
    wait_until(lambda: clients.missing() == ["b"], "one has joined")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (1, "a: ended with status 1: no"),
        (127, "a: ended with status 127; --remote-command says what starts dni there: no"),
        (255, "a: ended with status 255: no"),
    ],
)
def test_a_client_that_ended_says_how_and_a_command_that_is_not_found_how_to_name_it(
    clients: Clients, status: int, said: str
) -> None:
    start(clients, "a", f"import sys; print('no', flush=True); sys.exit({status})")
    wait_until(clients.gone, "it has ended")
    assert clients.gone() == [said]


def test_to_look_at_what_a_client_printed_does_not_disturb_what_it_prints_next(
    clients: Clients,
) -> None:
    code = "import sys, time\nfor n in range(200): print('line', n, flush=True)\nsys.exit(3)"
    start(clients, "a", code)

    def over() -> list[str]:
        clients.printed()
        return clients.gone()

    wait_until(over, "it has ended")
    assert clients.gone() == ["a: ended with status 3: line 199"]
