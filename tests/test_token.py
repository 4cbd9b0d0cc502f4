"""The line that is pasted to join a run: it comes through whole, or it is refused."""

from __future__ import annotations

import base64
from contextlib import suppress

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import SpecError
from protocol.security.token import KEY_BYTES, LONGEST, PREFIX, Token

keys = st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES)
ports = st.integers(1, 65535)
addresses = st.builds("tcp://{}:{}".format, st.sampled_from(("10.0.0.1", "ada.example")), ports)
heads = keys | st.just(b"")
tokens = st.builds(Token, st.lists(addresses, min_size=1, max_size=5).map(tuple), heads, keys)
packable = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2**40) | st.text(max_size=9) | keys,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=9,
)


def written(value: object) -> str:
    return PREFIX + base64.urlsafe_b64encode(msgpack.packb(value)).rstrip(b"=").decode()


@given(tokens)
def test_a_token_reads_as_it_was_written(token: Token) -> None:
    assert Token.read(str(token)) == token
    assert Token.read(str(token)).secure == bool(token.head)


@given(tokens, st.lists(st.tuples(st.integers(0, 300), st.sampled_from(" \n\t\r"))))
def test_white_space_that_came_with_copying_does_no_harm(
    token: Token, spaces: list[tuple[int, str]]
) -> None:
    text = str(token)
    for place, space in spaces:
        text = text[:place] + space + text[place:]
    assert Token.read(text) == token


@pytest.mark.parametrize("before", ["", "dni join ", "host1$  dni join ", "  'dni join "])
def test_a_line_that_is_pasted_whole_is_read_but_its_options_are_for_the_command(
    before: str,
) -> None:
    token = Token(("tcp://10.0.0.1:5701",), b"h" * KEY_BYTES, b"s" * KEY_BYTES)
    assert Token.read(f"{before}{token}") == token
    with pytest.raises(SpecError, match=r"damaged; .*; give --slots to dni join itself"):
        Token.read(f"{before}{token} --slots 2")


@given(tokens, st.integers(0, 300))
def test_a_token_that_is_cut_off_is_refused(token: Token, at: int) -> None:
    text = str(token)
    with pytest.raises(SpecError, match="token: "):
        Token.read(text[: at % len(text)])


@given(tokens, st.integers(0, 300), st.characters())
def test_a_damaged_token_is_refused_or_another_token(token: Token, at: int, other: str) -> None:
    text = str(token)
    place = at % len(text)
    with suppress(SpecError):
        found = Token.read(text[:place] + other + text[place + 1 :])
        assert len(found.secret) == KEY_BYTES
        assert len(found.head) in (0, KEY_BYTES)


@given(st.text() | st.text().map(PREFIX.__add__) | packable.map(written))
def test_of_garbage_comes_a_word_about_the_token_and_nothing_else(text: str) -> None:
    with pytest.raises(SpecError, match=r"^token: "):
        Token.read(text)


@pytest.mark.parametrize(
    "value",
    [
        1,
        None,
        [["tcp://10.0.0.1:1"], b"k" * 32],
        [[], b"k" * 32, b"s" * 32],
        [["tcp://10.0.0.1:1"], b"k" * 31, b"s" * 32],
        [["tcp://10.0.0.1:1"], b"k" * 32, b""],
        [["tcp://10.0.0.1:1"], b"", b""],
        [["tcp://10.0.0.1:1"], "k" * 32, b"s" * 32],
        [["ipc:///tmp/x"], b"k" * 32, b"s" * 32],
        [["tcp://10.0.0.1:65536"], b"k" * 32, b"s" * 32],
        [["tcp://10.0.0.1"], b"k" * 32, b"s" * 32],
        [[1], b"k" * 32, b"s" * 32],
    ],
)
def test_what_is_packed_well_and_is_no_token_is_refused(value: object) -> None:
    with pytest.raises(SpecError, match="damaged"):
        Token.read(written(value))


def test_nothing_of_a_large_text_is_looked_at() -> None:
    with pytest.raises(SpecError):
        Token.read(PREFIX + "A" * LONGEST)


def test_the_secret_is_not_shown_where_a_token_is() -> None:
    token = Token(("tcp://10.0.0.1:1",), b"k" * 32, b"secret".ljust(32))
    assert "secret  " not in repr(token)
