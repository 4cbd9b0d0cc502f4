"""Who is let in on a socket: those whose key is known there, and nobody else, whatever is asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.transport.authenticator import authenticate
from protocol.transport.curve import generate_keys

KEY = bytes(range(32))
PAIR = generate_keys()
IN_PLAIN = [
    b"1.0",
    b"7",
    b"layer0>layer1",
    b"10.0.0.9",
    b"me",
    b"PLAIN",
    *(k.encode() for k in PAIR),
]
QUESTION = [b"1.0", b"7", b"layer0>layer1", b"10.0.0.9", b"me", b"CURVE", KEY]
parts = st.sampled_from(QUESTION) | st.binary(max_size=40)


def known(domain: str, key: str) -> bool:
    return (domain, key) in (("layer0>layer1", KEY.hex()), ("layer0>layer1", PAIR.public))


def test_a_known_key_is_let_in_and_is_the_name_of_who_speaks() -> None:
    reply, refused = authenticate(QUESTION, known)
    assert reply == [b"1.0", b"7", b"200", b"OK", KEY.hex().encode(), b""]
    assert refused == ""


@pytest.mark.parametrize("question", [IN_PLAIN, [*IN_PLAIN, b"more"]])
def test_in_plain_text_who_shows_both_halves_of_a_known_key_is_let_in(
    question: list[bytes],
) -> None:
    reply, refused = authenticate(question, known)
    assert reply == [b"1.0", b"7", b"200", b"OK", PAIR.public.encode(), b""]
    assert refused == ""


SECRET = generate_keys().secret.encode()


@pytest.mark.parametrize(
    "shown",
    [
        [IN_PLAIN[6], b""],
        [IN_PLAIN[6], SECRET],
        [b"", IN_PLAIN[7]],
        [IN_PLAIN[6].upper(), IN_PLAIN[7]],
        [IN_PLAIN[6], b"z" * 64],
        [IN_PLAIN[6], b"\xff" * 64],
        [IN_PLAIN[6]],
        [KEY],
        [],
    ],
)
def test_in_plain_text_less_than_both_halves_is_nothing(shown: list[bytes]) -> None:
    assert authenticate([*IN_PLAIN[:6], *shown], known).warning
    assert authenticate([*IN_PLAIN[:6], *shown], lambda *_: True).warning


@given(st.lists(parts, max_size=9))
def test_nothing_but_a_known_key_is_let_in(frames: list[bytes]) -> None:
    reply, refused = authenticate(frames, known)
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
def test_one_thing_wrong_is_enough_and_the_log_says_who_and_where(place: int, value: bytes) -> None:
    frames = [*QUESTION]
    frames[place] = value
    reply, refused = authenticate(frames, known)
    assert reply[:3] == [b"1.0", b"7", b"400"]
    assert "10.0.0.9" in refused
    assert frames[2].decode() in refused
    assert "its key is not enrolled in this run" in refused


def test_where_everybody_is_known_a_key_is_still_wanted() -> None:
    assert authenticate([*QUESTION[:6], b"short"], lambda *_: True).warning
    assert authenticate(QUESTION[:6], lambda *_: True).warning
