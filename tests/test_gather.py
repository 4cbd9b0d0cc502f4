"""How a head waits for hosts, and what it says meanwhile; no host, socket or process."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from coordinator.cluster import gather
from coordinator.cluster.gather import LaunchedHosts, PastedHosts, Roster
from protocol import RunError
from tests.conftest import wait_until

ONE = ("host1", "ada", 1)
TWO = ("host2", "eve", 2)


class Clock:
    """A clock that goes when it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(gather, "time", made)
    return made


class Slow:
    """A launcher whose agents take their time."""

    def __init__(self) -> None:
        self.over: list[str] = []

    def local_address(self) -> str:
        return ""

    def launch(self, token: str, slots: int) -> None:
        pass

    def ended(self) -> list[str]:
        return self.over

    def pending(self) -> list[str]:
        return ["alpha: no agent has joined; look there"]

    def close(self) -> None:
        pass


class Asked:
    """A question and the answer that is given."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.said: bool | None = None

    def ask(self, text: str) -> None:
        self.texts.append(text)

    def answer(self) -> bool | None:
        return self.said


@pytest.mark.parametrize(
    ("roster", "text"),
    [
        (Roster(4, ()), "0 of 4 slots joined; need 4 more"),
        (Roster(4, (ONE, TWO)), "3 of 4 slots joined: host1 (1), host2 (2); need 1 more"),
        (Roster(3, (ONE, TWO)), "3 of 3 slots joined: host1 (1), host2 (2)"),
        (Roster(1, (TWO,)), "1 of 1 slots joined: host2 (2)"),
        (
            Roster(3, (), "ada"),
            "0 of 3 slots joined; need 3 more; need ada (data.host), which has not joined",
        ),
        (
            Roster(2, (TWO,), "ada"),
            "2 of 2 slots joined: host2 (2); need ada (data.host), which is none of host2 (eve)",
        ),
    ],
)
def test_a_roster_says_who_joined_and_how_many_are_missing(roster: Roster, text: str) -> None:
    assert roster.text == text


@pytest.mark.parametrize(
    ("roster", "complete"),
    [
        (Roster(3, (ONE, TWO)), True),
        (Roster(4, (ONE, TWO)), False),
        (Roster(2, (ONE, TWO)), True),
        (Roster(1, (ONE,), data_host="eve"), False),
    ],
)
def test_a_roster_is_complete_with_all_slots_and_the_host_of_the_data(
    roster: Roster, complete: bool
) -> None:
    assert roster.complete is complete


def test_every_change_of_the_roster_is_said_with_the_way_out(clock: Clock) -> None:
    said: list[str] = []
    policy = PastedHosts(said.append)
    for roster in (Roster(4, ()), Roster(4, (TWO,)), Roster(4, (ONE, TWO)), Roster(3, (ONE, TWO))):
        policy.changed(roster)
    assert said == [
        "0 of 4 slots joined; need 4 more",
        "2 of 4 slots joined: host2 (2); need 2 more, or --workers 2",
        "3 of 4 slots joined: host1 (1), host2 (2); need 1 more, or --workers 3",
    ]
    clock.now += 1e6
    assert policy.workers(Roster(4, (TWO,))) is None, "nobody said how long to wait"


@pytest.mark.parametrize("seconds", [None, 3.0, 90.0])
def test_layers_are_spread_over_what_has_joined_when_no_host_has_come_for_a_while(
    clock: Clock, seconds: float | None
) -> None:
    said: list[str] = []
    policy = PastedHosts(said.append, share=True, seconds=seconds)
    limit = seconds or gather.ASK_SECONDS
    policy.changed(Roster(4, (ONE,)))
    clock.now += limit - 1
    policy.changed(Roster(4, (ONE, TWO)))
    clock.now += limit - 1
    assert policy.workers(Roster(4, (ONE, TWO))) is None
    clock.now += 1
    assert policy.workers(Roster(4, (ONE, TWO))) == 3
    assert said[-1] == "training with 3 workers: layers share"


def test_nothing_is_spread_over_nobody(clock: Clock) -> None:
    patient = PastedHosts(lambda _: None, share=True)
    clock.now += 1e6
    assert patient.workers(Roster(4, ())) is None
    with pytest.raises(RunError, match="0 of 4 slots joined; need 4 more"):
        PastedHosts(lambda _: None, share=True, seconds=-1).workers(Roster(4, ()))


@pytest.mark.parametrize("roster", [Roster(4, ()), Roster(4, (ONE,)), Roster(2, (TWO,), "ada")])
def test_a_wait_of_a_given_length_ends_the_run_where_nobody_can_be_asked(
    clock: Clock, roster: Roster
) -> None:
    policy = PastedHosts(lambda _: None, seconds=5.0)
    policy.changed(roster)
    clock.now += 4.9
    assert policy.workers(roster) is None
    clock.now += 0.2
    with pytest.raises(RunError, match=r"of 4 slots joined|\(data\.host\), which is none of host2"):
        policy.workers(roster)


def test_hosts_that_are_all_that_may_join_are_not_waited_for_in_vain() -> None:
    closed = Roster(4, (ONE, TWO), closed=True)
    with pytest.raises(RunError, match="need 1 more, or --workers 3; the token is used up"):
        PastedHosts(lambda _: None).workers(closed)
    assert PastedHosts(lambda _: None, share=True).workers(closed) == 3


def test_who_said_no_waits_on_unless_nobody_else_can_come(clock: Clock) -> None:
    said: list[str] = []
    question = Asked()
    policy = PastedHosts(said.append, question=question, seconds=5.0)
    policy.changed(Roster(4, (ONE,)))
    clock.now += 5.0
    question.said = False
    for _ in range(3):
        assert policy.workers(Roster(4, (ONE,))) is None
    assert said[-1] == "waiting on; Ctrl-C ends the run"
    with pytest.raises(RunError, match="the token is used up"):
        policy.workers(Roster(4, (ONE,), closed=True))
    assert len(question.texts) == 1


def test_layers_that_the_user_divides_are_neither_spread_nor_asked_about(clock: Clock) -> None:
    said: list[str] = []
    question = Asked()
    policy = PastedHosts(said.append, question=question, fixed=True)
    policy.changed(Roster(4, (ONE,)))
    clock.now += 1e6
    assert policy.workers(Roster(4, (ONE,))) is None
    assert question.texts == []
    assert said == ["1 of 4 slots joined: host1 (1); need 3 more"]


def test_a_person_is_asked_once_until_the_roster_changes(clock: Clock) -> None:
    question = Asked()
    policy = PastedHosts(lambda _: None, question=question)
    policy.changed(Roster(4, (ONE,)))
    for _ in range(3):
        clock.now += gather.ASK_SECONDS
        assert policy.workers(Roster(4, (ONE,))) is None
    assert (
        question.texts == ["train with 1 worker, so that layers share?"] or len(question.texts) == 1
    )
    policy.changed(Roster(4, (ONE, TWO)))
    assert policy.workers(Roster(4, (ONE, TWO))) is None
    clock.now += gather.ASK_SECONDS
    question.said = True
    assert policy.workers(Roster(4, (ONE, TWO))) == 3
    assert len(question.texts) == 2


def test_a_launcher_that_takes_its_time_is_reported_less_and_less_often(clock: Clock) -> None:
    said: list[str] = []
    policy = LaunchedHosts(Slow(), None, said.append)
    for _ in range(300):
        clock.now += 1.0
        policy.workers(Roster(3, (ONE,)))
    assert 6 <= len(said) <= 9
    assert said[0] == (
        "waited 5 s for agents: 1 of 3 slots joined: host1 (1); need 2 more; "
        "alpha: no agent has joined; look there"
    )


def test_a_launcher_whose_agents_do_not_come_in_time_ends_the_run(clock: Clock) -> None:
    policy = LaunchedHosts(Slow(), 50.0, lambda _: None)
    clock.now += 49.0
    assert policy.workers(Roster(3, ())) is None
    clock.now += 1.0
    with pytest.raises(RunError, match=r"0 of 3 slots .* look there \(--start-timeout 50\)"):
        policy.workers(Roster(3, ()))


def test_an_agent_that_ended_ends_the_wait(clock: Clock) -> None:
    launcher = Slow()
    policy = LaunchedHosts(launcher, None, lambda _: None)
    clock.now += 1.0
    assert policy.workers(Roster(3, (ONE,))) is None
    launcher.over = ["alpha: ended with status 1: no"]
    with pytest.raises(RunError, match="alpha: ended with status 1: no"):
        policy.workers(Roster(3, (ONE,)))


ASKS = """
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
    """Asks on a terminal where somebody types an answer; gives what was printed."""
    left: list[int] = []

    def ask(answer: str) -> str:
        pid, fd = pty.fork()
        if pid == 0:
            os.execv(sys.executable, [sys.executable, "-c", ASKS])
        left.append(fd)
        text = ""

        def read(until: str) -> bool:
            nonlocal text
            with suppress(OSError):
                text += os.read(fd, 4096).decode()
            return until in text

        wait_until(lambda: read("[y/N]"), "it asks")
        os.write(fd, answer.encode())
        wait_until(lambda: read("end"), "it has read the answer")
        os.waitpid(pid, 0)
        return text

    yield ask
    for fd in left:
        os.close(fd)


@pytest.mark.parametrize(
    ("answer", "said"),
    [("y\n", "answered None True"), ("YES\n", "answered None True"), ("\n", "answered None False")],
)
def test_a_question_on_a_terminal_takes_a_line_for_its_answer(
    terminal: Callable[[str], str], answer: str, said: str
) -> None:
    assert said in terminal(answer)


@pytest.mark.parametrize("stdin", [subprocess.DEVNULL, subprocess.PIPE])
def test_nobody_is_asked_where_there_is_no_terminal(stdin: int) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", ASKS], stdin=stdin, capture_output=True, text=True, check=False
    )
    assert "no terminal" in ran.stderr
