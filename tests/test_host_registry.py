"""The registry of hosts: enrolment, revocation, and which names a key may send as."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coordinator.cluster.registry import MAX_SLOTS, Host, Registry
from protocol import VERSION
from protocol.config import HEAD
from protocol.messages import Enrol, Refused, Welcome

STAGES = ("layer0", "layer1", "layer2")
TOKEN = "e" * 64
HEAD_KEY = "f" * 64


def key(number: int) -> str:
    return f"{number:064x}"


def request(number: int = 1) -> Enrol:
    return Enrol(VERSION, "1.0", key(number), "ada", "10.0.0.2", 2, 8, ("layer1",))


def registry(uses: int = 3) -> Registry:
    made = Registry(STAGES, TOKEN, uses, "1.0", "clock")
    made.add_head(Host(HEAD, "ada", "10.0.0.1", HEAD_KEY, 0, 1, (), 0.0, present=True))
    return made


def refusal(made: Registry, requested: Enrol, by: str = TOKEN) -> str:
    answer = made.enrol(requested, by, 0.0)
    assert isinstance(answer, Refused)
    return answer.text


def test_a_peer_with_the_token_enrols_a_key_of_its_own() -> None:
    made = registry()
    assert not made.may_connect(key(1))
    assert made.enrol(request(1), TOKEN, 5.0) == Welcome("host1", "clock")
    assert made.enrol(request(2), TOKEN, 6.0) == Welcome("host2", "clock")
    host = made.by_key(key(1))
    assert host is not None
    assert (host.name, host.slots, host.preferred_layers, host.last_seen) == (
        "host1",
        2,
        ("layer1",),
        5.0,
    )
    assert not host.present
    assert made.may_connect(key(1))
    assert made.may_connect(key(2))


def test_a_token_admits_a_limited_number_of_hosts_and_then_no_connection() -> None:
    made = registry(uses=2)
    for number in (1, 2):
        assert made.may_connect(TOKEN)
        made.enrol(request(number), TOKEN, 0.0)
    assert not made.may_connect(TOKEN)
    assert "used up" in refusal(made, request(3))
    assert not made.may_connect(key(3))


def test_a_refused_request_does_not_use_up_the_token() -> None:
    made = registry(uses=1)
    refusal(made, replace(request(), slots=MAX_SLOTS + 1))
    assert made.enrol(request(), TOKEN, 0.0) == Welcome("host1", "clock")


@pytest.mark.parametrize("other", [key(1), key(9), HEAD_KEY, ""])
def test_only_the_key_of_the_token_can_enrol(other: str) -> None:
    made = registry()
    made.enrol(request(1), TOKEN, 0.0)
    assert refusal(made, request(2), other)
    assert not made.may_connect(key(2))


def test_a_key_is_enrolled_once_and_never_after_its_revocation() -> None:
    made = registry()
    made.enrol(request(), TOKEN, 0.0)
    assert "enrolled before" in refusal(made, request())
    made.revoke("host1")
    assert "enrolled before" in refusal(made, request())
    assert set(made.hosts) == {HEAD}


@pytest.mark.parametrize(
    "invalid", [TOKEN, HEAD_KEY, "", "ab", key(1)[:-1], key(10).upper(), "zz" * 32]
)
def test_an_invalid_or_known_key_cannot_be_enrolled(invalid: str) -> None:
    assert refusal(registry(), replace(request(), key=invalid))


@pytest.mark.parametrize("change", [{"version": VERSION + 1}, {"software": "0.9"}])
def test_a_request_of_another_version_is_refused_with_both_versions_named(
    change: dict[str, object],
) -> None:
    requested = replace(request(), **change)  # type: ignore[arg-type]
    text = refusal(registry(), requested)
    assert f"dni 1.0, protocol {VERSION}" in text
    assert f"dni {requested.software}, protocol {requested.version}" in text


def test_a_preference_for_an_unknown_layer_is_refused_with_its_name() -> None:
    assert "layer7" in refusal(
        registry(), replace(request(), preferred_layers=("layer0", "layer7"))
    )


def test_too_many_slots_are_refused() -> None:
    assert "slots" in refusal(registry(), replace(request(), slots=MAX_SLOTS + 1))


def test_a_request_without_slots_adds_no_host() -> None:
    made = registry(uses=1)
    assert made.enrol(replace(request(), slots=0), TOKEN, 0.0) == Welcome("", "clock")
    assert set(made.hosts) == {HEAD}
    assert made.enrol(request(), TOKEN, 0.0) == Welcome("host1", "clock")


def test_a_revoked_host_can_neither_connect_nor_send_and_its_name_is_not_used_again() -> None:
    made = registry()
    made.enrol(request(1), TOKEN, 0.0)
    assert made.may_send_as("host1", key(1))
    gone = made.revoke("host1")
    assert gone is not None
    assert gone.name == "host1"
    assert not made.may_connect(key(1))
    assert not made.may_send_as("host1", key(1))
    assert made.revoke("host1") is None
    assert made.enrol(request(2), TOKEN, 0.0) == Welcome("host2", "clock")


def test_the_head_cannot_be_revoked() -> None:
    made = registry()
    assert made.revoke(HEAD) is None
    assert made.may_connect(HEAD_KEY)


def test_a_host_sends_as_itself_and_as_what_runs_on_it_only() -> None:
    made = registry()
    made.enrol(request(1), TOKEN, 0.0)
    made.enrol(request(2), TOKEN, 0.0)
    made.hosts["host1"].workers["layer0-1"] = frozenset({"layer0", "layer1"})
    made.hosts["host2"].workers["layer2"] = frozenset({"layer2"})
    names = ("host1", "host2", HEAD, "source", "layer0-1", *STAGES, "")
    allowed = {
        (name, number)
        for name in names
        for number in (1, 2, 9)
        if made.may_send_as(name, key(number))
    }
    assert allowed == {
        *((name, 1) for name in ("host1", "layer0-1", "layer0", "layer1")),
        *((name, 2) for name in ("host2", "layer2")),
    }
    assert not made.may_send_as("host1", "")
    assert made.names_on("host1") == {"layer0-1", "layer0", "layer1"}
    assert made.names_on("nobody") == set()
