"""docs/glossary.md explains every column of the tables that dni prints."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.sources import ROOT, python_files, tree

GLOSSARY: Final = (ROOT / "docs" / "glossary.md").read_text("utf-8")
EXPLAINED: Final = {
    term.strip()
    for row in re.findall(r"^\| ([^|]*) \|", GLOSSARY, re.MULTILINE)
    for term in row.split(",")
}
OBVIOUS: Final = {"a", "b", "b/a", "from", "to", "layer", "name", "measure", "size", "network"}
"""Columns whose heading explains them."""


def columns() -> Iterator[str]:
    """The headings in all calls of `Column`."""
    for file in python_files():
        if file.parts[0] == "coordinator":
            yield from _headings(file)


def _headings(file: Path) -> Iterator[str]:
    for call in ast.walk(tree(file)):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "Column":
            heading = call.args[0]
            if isinstance(heading, ast.Constant):
                yield str(heading.value)


@pytest.mark.parametrize("heading", sorted({*columns()} - OBVIOUS))
def test_the_glossary_explains_the_column(heading: str) -> None:
    assert heading.removesuffix(", s") in EXPLAINED


def test_no_term_is_explained_twice_in_one_table() -> None:
    for table in GLOSSARY.split("\n\n"):
        rows = re.findall(r"^\| ([^|]*) \|", table, re.MULTILINE)
        terms = [term.strip() for row in rows for term in row.split(",")]
        assert len(terms) == len(set(terms))
