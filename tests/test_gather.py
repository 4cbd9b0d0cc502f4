"""The wait of a head for hosts, and its messages meanwhile; without hosts, sockets or processes."""

from __future__ import annotations

import pytest

from coordinator.cluster import gather
from coordinator.cluster.gather import LaunchedHosts, PastedHosts, Roster
from protocol import RunError

ONE = ("host1", "ada", 1)
TWO = ("host2", "eve", 2)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(gather, "time", made)
    return made


class SlowLauncher:
    """A launcher whose agents are late."""

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


class FakeQuestion:
    """Records the questions; `reply` is the answer to all of them."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.reply: bool | None = None

    def ask(self, text: str) -> None:
        self.texts.append(text)

    def answer(self) -> bool | None:
        return self.reply


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
def test_the_text_of_a_roster_has_the_hosts_and_the_missing_slots(
    roster: Roster, text: str
) -> None:
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


def test_every_change_of_the_roster_is_reported_with_what_to_do(clock: Clock) -> None:
    reported: list[str] = []
    policy = PastedHosts(reported.append)
    for roster in (Roster(4, ()), Roster(4, (TWO,)), Roster(4, (ONE, TWO)), Roster(3, (ONE, TWO))):
        policy.changed(roster)
    assert reported == [
        "0 of 4 slots joined; need 4 more",
        "2 of 4 slots joined: host2 (2); need 2 more, or --workers 2",
        "3 of 4 slots joined: host1 (1), host2 (2); need 1 more, or --workers 3",
    ]
    clock.now += 1e6
    assert policy.workers(Roster(4, (TWO,))) is None, "the wait has no limit"


@pytest.mark.parametrize("seconds", [None, 3.0, 90.0])
def test_layers_share_the_slots_that_have_joined_after_a_time_without_a_new_host(
    clock: Clock, seconds: float | None
) -> None:
    reported: list[str] = []
    policy = PastedHosts(reported.append, share=True, seconds=seconds)
    limit = seconds or gather.ASK_SECONDS
    policy.changed(Roster(4, (ONE,)))
    clock.now += limit - 1
    policy.changed(Roster(4, (ONE, TWO)))
    clock.now += limit - 1
    assert policy.workers(Roster(4, (ONE, TWO))) is None
    clock.now += 1
    assert policy.workers(Roster(4, (ONE, TWO))) == 3
    assert reported[-1] == "training with 3 workers: layers share"


def test_without_hosts_training_does_not_begin(clock: Clock) -> None:
    patient = PastedHosts(lambda _: None, share=True)
    clock.now += 1e6
    assert patient.workers(Roster(4, ())) is None
    with pytest.raises(RunError, match="0 of 4 slots joined; need 4 more"):
        PastedHosts(lambda _: None, share=True, seconds=-1).workers(Roster(4, ()))


@pytest.mark.parametrize("roster", [Roster(4, ()), Roster(4, (ONE,)), Roster(2, (TWO,), "ada")])
def test_a_limited_wait_without_a_terminal_ends_in_an_error(clock: Clock, roster: Roster) -> None:
    policy = PastedHosts(lambda _: None, seconds=5.0)
    policy.changed(roster)
    clock.now += 4.9
    assert policy.workers(roster) is None
    clock.now += 0.2
    with pytest.raises(RunError, match=r"of 4 slots joined|\(data\.host\), which is none of host2"):
        policy.workers(roster)


def test_the_wait_ends_when_no_further_host_may_join() -> None:
    closed = Roster(4, (ONE, TWO), closed=True)
    with pytest.raises(RunError, match="need 1 more, or --workers 3; the token is used up"):
        PastedHosts(lambda _: None).workers(closed)
    assert PastedHosts(lambda _: None, share=True).workers(closed) == 3


def test_after_the_answer_no_the_wait_goes_on_while_hosts_may_join(clock: Clock) -> None:
    reported: list[str] = []
    question = FakeQuestion()
    policy = PastedHosts(reported.append, question=question, seconds=5.0)
    policy.changed(Roster(4, (ONE,)))
    clock.now += 5.0
    question.reply = False
    for _ in range(3):
        assert policy.workers(Roster(4, (ONE,))) is None
    assert reported[-1] == "waiting on; Ctrl-C ends the run"
    with pytest.raises(RunError, match="the token is used up"):
        policy.workers(Roster(4, (ONE,), closed=True))
    assert len(question.texts) == 1


def test_a_placement_in_the_pipeline_file_is_kept_without_a_question(clock: Clock) -> None:
    reported: list[str] = []
    question = FakeQuestion()
    policy = PastedHosts(reported.append, question=question, fixed=True)
    policy.changed(Roster(4, (ONE,)))
    clock.now += 1e6
    assert policy.workers(Roster(4, (ONE,))) is None
    assert question.texts == []
    assert reported == ["1 of 4 slots joined: host1 (1); need 3 more"]


def test_the_question_is_asked_once_until_the_roster_changes(clock: Clock) -> None:
    question = FakeQuestion()
    policy = PastedHosts(lambda _: None, question=question)
    policy.changed(Roster(4, (ONE,)))
    for _ in range(3):
        clock.now += gather.ASK_SECONDS
        assert policy.workers(Roster(4, (ONE,))) is None
    assert len(question.texts) == 1
    policy.changed(Roster(4, (ONE, TWO)))
    assert policy.workers(Roster(4, (ONE, TWO))) is None
    clock.now += gather.ASK_SECONDS
    question.reply = True
    assert policy.workers(Roster(4, (ONE, TWO))) == 3
    assert len(question.texts) == 2


def test_missing_agents_are_reported_less_and_less_often(clock: Clock) -> None:
    reported: list[str] = []
    policy = LaunchedHosts(SlowLauncher(), None, reported.append)
    for _ in range(300):
        clock.now += 1.0
        policy.workers(Roster(3, (ONE,)))
    assert 6 <= len(reported) <= 9
    assert reported[0] == (
        "waited 5 s for agents: 1 of 3 slots joined: host1 (1); need 2 more; "
        "alpha: no agent has joined; look there"
    )


def test_agents_that_are_not_in_time_end_the_run(clock: Clock) -> None:
    policy = LaunchedHosts(SlowLauncher(), 50.0, lambda _: None)
    clock.now += 49.0
    assert policy.workers(Roster(3, ())) is None
    clock.now += 1.0
    with pytest.raises(RunError, match=r"0 of 3 slots .* look there \(--start-timeout 50\)"):
        policy.workers(Roster(3, ()))


def test_an_agent_that_ended_ends_the_wait(clock: Clock) -> None:
    launcher = SlowLauncher()
    policy = LaunchedHosts(launcher, None, lambda _: None)
    clock.now += 1.0
    assert policy.workers(Roster(3, (ONE,))) is None
    launcher.over = ["alpha: ended with status 1: no"]
    with pytest.raises(RunError, match="alpha: ended with status 1: no"):
        policy.workers(Roster(3, (ONE,)))
