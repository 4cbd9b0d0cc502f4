"""A peer may connect if its key is allowed in the domain of the socket, and not otherwise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.transport.authenticator import authenticate
from protocol.transport.curve import generate_keys

KEY = bytes(range(32))
PAIR = generate_keys()
PLAIN_REQUEST = [
    b"1.0",
    b"7",
    b"layer0>layer1",
    b"10.0.0.9",
    b"me",
    b"PLAIN",
    *(k.encode() for k in PAIR),
]
REQUEST = [b"1.0", b"7", b"layer0>layer1", b"10.0.0.9", b"me", b"CURVE", KEY]
parts = st.sampled_from(REQUEST) | st.binary(max_size=40)


def is_allowed(domain: str, key: str) -> bool:
    return (domain, key) in (("layer0>layer1", KEY.hex()), ("layer0>layer1", PAIR.public))


def test_an_allowed_key_is_accepted_and_becomes_the_user_id() -> None:
    reply, refused = authenticate(REQUEST, is_allowed)
    assert reply == [b"1.0", b"7", b"200", b"OK", KEY.hex().encode(), b""]
    assert refused == ""


@pytest.mark.parametrize("frames", [PLAIN_REQUEST, [*PLAIN_REQUEST, b"more"]])
def test_both_keys_of_an_allowed_pair_are_accepted_in_plain_text(
    frames: list[bytes],
) -> None:
    reply, refused = authenticate(frames, is_allowed)
    assert reply == [b"1.0", b"7", b"200", b"OK", PAIR.public.encode(), b""]
    assert refused == ""


SECRET = generate_keys().secret.encode()


@pytest.mark.parametrize(
    "shown",
    [
        [PLAIN_REQUEST[6], b""],
        [PLAIN_REQUEST[6], SECRET],
        [b"", PLAIN_REQUEST[7]],
        [PLAIN_REQUEST[6].upper(), PLAIN_REQUEST[7]],
        [PLAIN_REQUEST[6], b"z" * 64],
        [PLAIN_REQUEST[6], b"\xff" * 64],
        [PLAIN_REQUEST[6]],
        [KEY],
        [],
    ],
)
def test_less_than_both_keys_of_a_pair_is_refused_in_plain_text(shown: list[bytes]) -> None:
    assert authenticate([*PLAIN_REQUEST[:6], *shown], is_allowed).warning
    assert authenticate([*PLAIN_REQUEST[:6], *shown], lambda *_: True).warning


@given(st.lists(parts, max_size=9))
def test_any_request_without_an_allowed_key_is_refused(frames: list[bytes]) -> None:
    reply, refused = authenticate(frames, is_allowed)
    assert len(reply) == 6
    if reply[2] == b"200":
        assert frames[0] == b"1.0"
        assert (frames[2], frames[5], frames[6]) == (b"layer0>layer1", b"CURVE", KEY)
        assert not refused
    else:
        assert (reply[2], reply[4]) == (b"400", b"")
        assert refused


@pytest.mark.parametrize(
    ("place", "value"),
    [(0, b"2.0"), (2, b"layer1>layer0"), (5, b"NULL"), (5, b"PLAIN"), (6, KEY[::-1]), (6, b"")],
)
def test_one_wrong_part_of_a_request_is_refused_with_address_and_domain(
    place: int, value: bytes
) -> None:
    frames = [*REQUEST]
    frames[place] = value
    reply, refused = authenticate(frames, is_allowed)
    assert reply[:3] == [b"1.0", b"7", b"400"]
    assert "10.0.0.9" in refused
    assert frames[2].decode() in refused
    assert "its key is not enrolled in this run" in refused


def test_a_request_without_a_key_is_refused_even_if_all_keys_are_allowed() -> None:
    assert authenticate([*REQUEST[:6], b"short"], lambda *_: True).warning
    assert authenticate(REQUEST[:6], lambda *_: True).warning
