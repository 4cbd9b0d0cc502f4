"""The token of `dni join`: on the command line or on standard input, as people paste it."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import pytest

from coordinator.commands.cluster_parsing import read_token
from protocol import (
    SpecError,
)
from protocol.security.token import Token
from protocol.transport.curve import generate_keys

if TYPE_CHECKING:
    pass

from tests.test_text import AS_EDITORS_SAVE

KEYS = generate_keys()
TOKEN = Token(("tcp://10.0.0.1:5701",), bytes.fromhex(KEYS.public), bytes.fromhex(KEYS.secret))


@pytest.mark.parametrize("around", ["{}", "'{}'", '"{}"', "`{}`", "dni join {}", "'dni join {}'\n"])
@pytest.mark.parametrize("form", ["UTF-8", "a byte order mark", "CRLF", "UTF-16", "CR alone"])
@pytest.mark.parametrize("before", ["", "  ", "\n\n"])
def test_a_token_is_read_from_standard_input_and_from_the_command_line(
    monkeypatch: pytest.MonkeyPatch, around: str, form: str, before: str
) -> None:
    if before.strip(" ") and form in ("UTF-16", "CR alone"):
        before = ""
    data = AS_EDITORS_SAVE[form](f"{before}{around.format(TOKEN)}\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert read_token("-") == TOKEN
    assert read_token(around.format(TOKEN)) == TOKEN


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "token: empty"),
        (b"\n \n", "token: empty"),
        (b"\x00\x01\xff\n", "token: standard input: "),
        (b"hello\n", "does not begin with dni1:"),
        (b"dni1:\n", "damaged"),
        (b"dni join\n", "token: empty"),
    ],
)
def test_the_error_for_other_text_than_a_token_is_one_line(
    monkeypatch: pytest.MonkeyPatch, data: bytes, reason: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    with pytest.raises(SpecError, match=reason):
        read_token("-")


def test_only_the_line_of_the_token_is_read_from_standard_input(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = io.BytesIO(f"{TOKEN}\nand more\n".encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(raw))
    assert read_token("-") == TOKEN
    assert sys.stdin.buffer.readline() == b"and more\n"


def test_a_closed_standard_input_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(SpecError, match="standard input is closed"):
        read_token("-")
