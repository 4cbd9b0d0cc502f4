"""Files and functions are short enough to be read at once.

`.venv/bin/python tests/test_structure.py [PREFIX ...]` lists what is too long.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

sys.path.append(str(Path(__file__).resolve().parent.parent))

from tests.sources import ROOT, all_files, python_files, tree

LONGEST_FILE: Final = 300
LONGEST_FUNCTION: Final = 45
LARGEST_MEDIAN: Final = 8


def lengths(file: Path) -> Iterator[tuple[int, str, int]]:
    """The line, the name and the number of lines of each function of `file`."""
    for item in ast.walk(tree(file)):
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
            assert item.end_lineno is not None
            yield item.lineno, item.name, item.end_lineno - item.lineno + 1


def long_files() -> list[str]:
    """Files above the limit."""
    programs = [file for file in all_files() if file.suffix in (".py", ".js")]
    counted = [(file, (ROOT / file).read_text("utf-8").count("\n")) for file in programs]
    return [f"{file}: {n} lines" for file, n in counted if n > LONGEST_FILE]


def long_functions() -> list[str]:
    """Functions above the limit."""
    return [
        f"{file}:{line}: {name}: {length} lines"
        for file in python_files()
        for line, name, length in lengths(file)
        if length > LONGEST_FUNCTION
    ]


def test_no_file_is_longer_than_300_lines() -> None:
    found = long_files()
    assert not found, "\n".join(["", *found])


def test_no_function_is_longer_than_45_lines() -> None:
    found = long_functions()
    assert not found, "\n".join(["", *found])


def test_half_of_all_functions_have_at_most_8_lines() -> None:
    found = [length for file in python_files() for _, _, length in lengths(file)]
    assert statistics.median(found) <= LARGEST_MEDIAN


if __name__ == "__main__":
    wanted = tuple(sys.argv[1:])
    for text in [*long_files(), *long_functions()]:
        if text.startswith(wanted or ""):
            print(text)
