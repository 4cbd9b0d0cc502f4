"""Tables leave out the least important columns; sentences break only between phrases."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from coordinator.console.columns import Column, Phrases, Table
from tests.terminal_help import rendered

COLUMNS = (Column("name", left=True), Column("bytes", 2), Column("rate"), Column("age", 1))
ROWS = [("layer0", "12.3 MiB", "1,200,000", "3 ms"), ("layer10", "1 B", "-", "12,345 s")]


@pytest.mark.parametrize(
    ("width", "headings", "said"),
    [
        (80, "name bytes rate age", ""),
        (30, "name rate age", "not shown at 30 columns: bytes"),
        (20, "name rate", "not shown at 20 columns: bytes,"),
        (10, "name", "not shown at 10 columns: bytes,"),
    ],
)
def test_least_important_columns_are_left_out_and_named(
    width: int, headings: str, said: str
) -> None:
    lines = rendered(Table(COLUMNS, ROWS), width)
    assert lines[0].split() == headings.split()
    assert said in " ".join(lines)
    assert ("not shown" in " ".join(lines)) == bool(said)


def test_numbers_are_right_aligned_and_text_left_aligned() -> None:
    assert rendered(Table(COLUMNS, ROWS), 80) == [
        "name        bytes       rate       age",
        "─" * 38,
        "layer0   12.3 MiB  1,200,000      3 ms",
        "layer10       1 B          -  12,345 s",
    ]


@pytest.mark.parametrize("name", ["λ", "日本語", "naïve", "👍👍"])
def test_wide_characters_do_not_move_columns(name: str) -> None:
    lines = rendered(Table([Column("name", left=True), Column("n")], [(name, "1"), ("b", "22")]))
    assert {cell_len(line) for line in lines} == {max(4, cell_len(name)) + 4}


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "gbk", "utf-8"])
def test_transliterated_characters_do_not_move_columns(encoding: str) -> None:
    data = io.BytesIO()
    file = io.TextIOWrapper(data, encoding, errors="strict", newline="")
    table = Table([Column("λ", left=True), Column("±"), Column("n")], [("µ…", "3 µs", "1")])
    Console(file=file, width=60).print(table, crop=False)
    file.flush()
    lines = data.getvalue().decode(encoding).splitlines()
    assert len({cell_len(line) for line in lines}) == 1


def test_sentence_in_a_cell_breaks_between_phrases() -> None:
    columns = (Column("layer", left=True), Column("modules", left=True), Column("n"))
    rows = [("layer0", Phrases(["conv 32 3x3", "batchnorm", "relu"]), "1,234")]
    assert [line.split() for line in rendered(Table(columns, rows), 30)[2:]] == [
        ["layer0", "conv", "32", "3x3,", "1,234"],
        ["batchnorm,", "relu"],
    ]


@given(st.lists(st.text("ab 1", min_size=1).filter(str.strip), min_size=1), st.integers(1, 60))
def test_sentence_breaks_nowhere_else(phrases: list[str], width: int) -> None:
    phrases = [phrase.strip() for phrase in phrases]
    lines = Phrases(phrases).lines(width)
    assert " ".join(lines) == ", ".join(phrases)
    widest = max(len(phrase) for phrase in phrases) + 1
    assert max(map(len, lines)) <= max(width, widest)
