"""The Python files of the project, for tests of how they are written."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
FOLDERS: Final = ("benchmarks", "coordinator", "examples", "protocol", "tests", "workers")


@cache
def python_files() -> tuple[Path, ...]:
    """All Python files, relative to the root of the project."""
    found = [*ROOT.glob("*.py"), *(file for folder in FOLDERS for file in _below(folder, "*.py"))]
    return tuple(sorted(file.relative_to(ROOT) for file in found))


@cache
def all_files() -> tuple[Path, ...]:
    """All files of the project's folders and its documentation, relative to the root."""
    found = [*ROOT.glob("*.*"), *(file for folder in (*FOLDERS, "docs") for file in _below(folder))]
    return tuple(sorted(file.relative_to(ROOT) for file in found if file.is_file()))


def _below(folder: str, pattern: str = "*") -> Iterator[Path]:
    return (file for file in (ROOT / folder).rglob(pattern) if "__pycache__" not in file.parts)


@cache
def tree(file: Path) -> ast.Module:
    """The syntax tree of `file`, a path relative to the root."""
    return ast.parse((ROOT / file).read_text("utf-8"), str(file))
