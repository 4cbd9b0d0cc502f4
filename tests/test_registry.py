"""Who belongs to a run on several machines: how one comes in, goes out, and may speak for whom."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coordinator.cluster.registry import MOST_SLOTS, Registry
from protocol import VERSION
from protocol.messages import Enrol, Refused, Welcome
from protocol.pipeline import HEAD

CORES = ("layer0", "layer1", "layer2")
TOKEN = "e" * 64
HOME = "f" * 64


def key(number: int) -> str:
    return f"{number:064x}"


def request(number: int = 1) -> Enrol:
    return Enrol(VERSION, "1.0", key(number), "ada", "10.0.0.2", 2, 8, ("layer1",))


def registry(uses: int = 3) -> Registry:
    made = Registry(CORES, TOKEN, uses, "1.0", "clock")
    made.at_home(HOME, "10.0.0.1", 0.0)
    return made


def refusal(made: Registry, asked: Enrol, by: str = TOKEN) -> str:
    answer = made.enrol(asked, by, 0.0)
    assert isinstance(answer, Refused)
    return answer.text


def test_who_has_the_token_is_enrolled_under_a_key_of_its_own() -> None:
    made = registry()
    assert not made.allowed(key(1))
    assert made.enrol(request(1), TOKEN, 5.0) == Welcome("host1", "clock")
    assert made.enrol(request(2), TOKEN, 6.0) == Welcome("host2", "clock")
    agent = made.of(key(1))
    assert agent is not None
    assert (agent.name, agent.slots, agent.wishes, agent.seen) == ("host1", 2, ("layer1",), 5.0)
    assert not agent.here
    assert made.allowed(key(1))
    assert made.allowed(key(2))


def test_a_token_is_good_for_so_many_machines_and_then_does_not_even_connect() -> None:
    made = registry(uses=2)
    for number in (1, 2):
        assert made.allowed(TOKEN)
        made.enrol(request(number), TOKEN, 0.0)
    assert not made.allowed(TOKEN)
    assert "used up" in refusal(made, request(3))
    assert not made.allowed(key(3))


def test_a_refusal_uses_nothing_up() -> None:
    made = registry(uses=1)
    refusal(made, replace(request(), slots=MOST_SLOTS + 1))
    assert made.enrol(request(), TOKEN, 0.0) == Welcome("host1", "clock")


@pytest.mark.parametrize("other", [key(1), key(9), HOME, ""])
def test_no_other_key_can_enrol(other: str) -> None:
    made = registry()
    made.enrol(request(1), TOKEN, 0.0)
    assert refusal(made, request(2), other)
    assert not made.allowed(key(2))


def test_the_same_key_cannot_be_enrolled_twice_nor_after_it_was_revoked() -> None:
    made = registry()
    made.enrol(request(), TOKEN, 0.0)
    assert "enrolled before" in refusal(made, request())
    made.revoke("host1")
    assert "enrolled before" in refusal(made, request())
    assert set(made.agents) == {HEAD}


@pytest.mark.parametrize(
    "strange", [TOKEN, HOME, "", "ab", key(1)[:-1], key(10).upper(), "zz" * 32]
)
def test_what_is_nobodys_own_key_cannot_be_enrolled(strange: str) -> None:
    assert refusal(registry(), replace(request(), key=strange))


@pytest.mark.parametrize("change", [{"version": VERSION + 1}, {"software": "0.9"}])
def test_another_version_is_refused_with_both_named(change: dict[str, object]) -> None:
    asked = replace(request(), **change)  # type: ignore[arg-type]
    text = refusal(registry(), asked)
    assert f"dni 1.0, protocol {VERSION}" in text
    assert f"dni {asked.software}, protocol {asked.version}" in text


def test_a_wish_for_a_layer_that_is_not_there_is_refused_by_name() -> None:
    assert "layer7" in refusal(registry(), replace(request(), layers=("layer0", "layer7")))


def test_a_number_of_slots_that_cannot_be_is_refused() -> None:
    assert "slots" in refusal(registry(), replace(request(), slots=MOST_SLOTS + 1))


def test_who_has_no_slots_only_asks() -> None:
    made = registry(uses=1)
    assert made.enrol(replace(request(), slots=0), TOKEN, 0.0) == Welcome("", "clock")
    assert set(made.agents) == {HEAD}
    assert made.enrol(request(), TOKEN, 0.0) == Welcome("host1", "clock")


def test_who_is_revoked_may_neither_connect_nor_speak_and_its_name_is_not_given_again() -> None:
    made = registry()
    made.enrol(request(1), TOKEN, 0.0)
    assert made.may_speak("host1", key(1))
    gone = made.revoke("host1")
    assert gone is not None
    assert gone.name == "host1"
    assert not made.allowed(key(1))
    assert not made.may_speak("host1", key(1))
    assert made.revoke("host1") is None
    assert made.enrol(request(2), TOKEN, 0.0) == Welcome("host2", "clock")


def test_the_head_cannot_be_revoked() -> None:
    made = registry()
    assert made.revoke(HEAD) is None
    assert made.allowed(HOME)


def test_everybody_speaks_for_itself_and_what_lives_in_it_alone() -> None:
    made = registry()
    made.enrol(request(1), TOKEN, 0.0)
    made.enrol(request(2), TOKEN, 0.0)
    made.agents["host1"].workers["layer0-1"] = frozenset({"layer0", "layer1"})
    made.agents["host2"].workers["layer2"] = frozenset({"layer2"})
    names = ("host1", "host2", HEAD, "source", "layer0-1", *CORES, "")
    heard = {
        (name, number)
        for name in names
        for number in (1, 2, 9)
        if made.may_speak(name, key(number))
    }
    assert heard == {
        *((name, 1) for name in ("host1", "layer0-1", "layer0", "layer1")),
        *((name, 2) for name in ("host2", "layer2")),
    }
    assert not made.may_speak("host1", "")
    assert made.living_on("host1") == {"layer0-1", "layer0", "layer1"}
    assert made.living_on("nobody") == set()
