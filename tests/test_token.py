"""A token is parsed as it was written, or it is refused."""

from __future__ import annotations

import base64
from contextlib import suppress

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import SpecError
from protocol.security.token import KEY_BYTES, MAX_LENGTH, PREFIX, Token

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
def test_a_token_is_parsed_as_it_was_written(token: Token) -> None:
    assert Token.parse(str(token)) == token
    assert Token.parse(str(token)).secure == bool(token.head)


@given(tokens, st.lists(st.tuples(st.integers(0, 300), st.sampled_from(" \n\t\r"))))
def test_white_space_in_a_token_is_ignored(token: Token, spaces: list[tuple[int, str]]) -> None:
    text = str(token)
    for place, space in spaces:
        text = text[:place] + space + text[place:]
    assert Token.parse(text) == token


@pytest.mark.parametrize("before", ["", "dni join ", "host1$  dni join ", "  'dni join "])
def test_a_pasted_command_line_is_parsed_and_its_options_are_refused(
    before: str,
) -> None:
    token = Token(("tcp://10.0.0.1:5701",), b"h" * KEY_BYTES, b"s" * KEY_BYTES)
    assert Token.parse(f"{before}{token}") == token
    with pytest.raises(SpecError, match=r"damaged; .*; give --slots to dni join itself"):
        Token.parse(f"{before}{token} --slots 2")


@given(tokens, st.integers(0, 300))
def test_a_token_that_is_cut_off_is_refused(token: Token, at: int) -> None:
    text = str(token)
    with pytest.raises(SpecError, match="token: "):
        Token.parse(text[: at % len(text)])


@given(tokens, st.integers(0, 300), st.characters())
def test_a_damaged_token_is_refused_or_another_token(token: Token, at: int, other: str) -> None:
    text = str(token)
    place = at % len(text)
    with suppress(SpecError):
        found = Token.parse(text[:place] + other + text[place + 1 :])
        assert len(found.secret) == KEY_BYTES
        assert len(found.head) in (0, KEY_BYTES)


@given(st.text() | st.text().map(PREFIX.__add__) | packable.map(written))
def test_any_text_is_a_token_or_an_error_about_the_token(text: str) -> None:
    with pytest.raises(SpecError, match=r"^token: "):
        Token.parse(text)


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
def test_a_packed_value_that_is_no_token_is_refused(value: object) -> None:
    with pytest.raises(SpecError, match="damaged"):
        Token.parse(written(value))


def test_a_text_that_is_too_long_is_refused_unread() -> None:
    with pytest.raises(SpecError):
        Token.parse(PREFIX + "A" * MAX_LENGTH)


def test_the_repr_of_a_token_hides_the_secret() -> None:
    token = Token(("tcp://10.0.0.1:1",), b"k" * 32, b"secret".ljust(32))
    assert "secret  " not in repr(token)
