"""One language: names that the glossary replaced do not come back, and each name means one thing.

`.venv/bin/python tests/test_names.py [PREFIX ...]` lists the violations.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.append(str(Path(__file__).resolve().parent.parent))

from tests.forbidden import (
    CLASSES,
    EXCEPTIONS,
    HINTS,
    NAMES,
    PARTS,
    PARTS_BUT_IN_TESTS,
    PROCESSORS,
    SHARED,
    TEXTS,
)
from tests.sources import all_files, python_files, tree


class Name(NamedTuple):
    """A name that the project defines: where, and as what."""

    file: Path
    line: int
    name: str
    kind: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.kind} {self.name}"


def parts(name: str) -> set[str]:
    """The words of a name in any of the usual styles, in small letters."""
    return {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def names_in(file: Path) -> Iterator[Name]:
    """All names that a Python file defines, options of commands included."""
    for item in ast.walk(tree(file)):
        for name, kind in _defined(item):
            yield Name(file, getattr(item, "lineno", 0), name, kind)


def _defined(item: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(item, ast.ClassDef):
        yield item.name, "class"
    elif isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
        yield item.name, "test" if item.name.startswith("test_") else "function"
    elif isinstance(item, ast.arg):
        yield item.arg, "parameter"
    elif isinstance(item, ast.Name) and isinstance(item.ctx, ast.Store):
        yield item.id, "variable"
    elif isinstance(item, ast.Attribute) and isinstance(item.ctx, ast.Store):
        yield item.attr, "attribute"
    elif isinstance(item, ast.Call) and isinstance(item.func, ast.Attribute):
        yield from _options(item.func.attr, item.args)


def _options(function: str, arguments: list[ast.expr]) -> Iterator[tuple[str, str]]:
    """What a call such as `click.option("--trace", …)` or `group.command("trace")` names."""
    if function not in ("option", "argument", "command", "group"):
        return
    for argument in arguments:
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            yield argument.value, function


def file_names() -> Iterator[Name]:
    """The files and folders."""
    for file in all_files():
        yield Name(file, 0, re.sub(r"\W", "_", file.as_posix().partition(".")[0]), "file")
        yield Name(file, 0, file.stem, "module")


def forbidden(found: Name) -> Iterator[str]:
    """What is wrong with a name, and what stands for it."""
    if found.name in EXCEPTIONS:
        return
    rules = dict(PARTS)
    if found.file.as_posix().startswith(PROCESSORS):
        del rules["core"], rules["cores"]
    if found.kind != "test":
        rules |= PARTS_BUT_IN_TESTS
    for part in sorted(parts(found.name) & rules.keys()):
        yield f"{found}: '{part}' → {rules[part]}"
    whole = found.name.lower().strip("_")
    if found.kind in ("class", "function", "module") and whole in NAMES and "__" not in found.name:
        yield f"{found} → {NAMES[whole]}"
    if found.kind == "class" and found.name in CLASSES:
        yield f"{found} → {CLASSES[found.name]}"


def forbidden_names() -> list[str]:
    """All names that the glossary replaced."""
    names = [name for file in python_files() for name in names_in(file)]
    names += file_names()
    return sorted({text for name in names for text in forbidden(name)})


def forbidden_texts() -> list[str]:
    """Literals outside the tests that the glossary replaced."""
    return [
        f"{file}:{item.lineno}: {item.value!r} → {TEXTS[item.value]!r}"
        for file in python_files()
        if not file.as_posix().startswith(("tests/", HINTS))
        for item in ast.walk(tree(file))
        if isinstance(item, ast.Constant) and isinstance(item.value, str) and item.value in TEXTS
    ]


def classes_of_one_name() -> list[str]:
    """Classes outside tests and benchmarks that share a name with any other class."""
    found: dict[str, list[Name]] = defaultdict(list)
    for name in (name for file in python_files() for name in names_in(file)):
        if name.kind == "class":
            found[name.name].append(name)
    shared = (same for same in found.values() if len(same) > 1 and not all(map(_in_program, same)))
    return sorted(str(name) for same in shared for name in same)


def functions_of_one_name() -> list[str]:
    """Public functions of modules outside tests and benchmarks that share a name."""
    found: dict[str, list[Name]] = defaultdict(list)
    for file in python_files():
        for item in tree(file).body:
            if isinstance(item, ast.FunctionDef) and not item.name.startswith("_"):
                found[item.name].append(Name(file, item.lineno, item.name, "function"))
    shared = ([n for n in same if not _in_program(n)] for same in found.values())
    return sorted(
        str(name) for same in shared for name in same if len(same) > 1 and name.name not in SHARED
    )


def _in_program(name: Name) -> bool:
    return name.file.parts[0] in ("tests", "benchmarks")


def test_no_name_is_one_that_the_glossary_replaced() -> None:
    found = forbidden_names()
    assert not found, "\n".join(["", *found])


def test_no_literal_is_a_key_or_value_that_the_glossary_replaced() -> None:
    found = forbidden_texts()
    assert not found, "\n".join(["", *found])


def test_no_two_classes_share_a_name() -> None:
    found = classes_of_one_name()
    assert not found, "\n".join(["", *found])


def test_no_two_public_functions_of_modules_share_a_name() -> None:
    found = functions_of_one_name()
    assert not found, "\n".join(["", *found])


def test_a_name_is_read_in_its_parts() -> None:
    assert parts("_InnerCore") == {"inner", "core"}
    assert parts("--no-core_window2") == {"no", "core", "window"}
    assert parts("HTTPDoor") == {"http", "door"}


if __name__ == "__main__":
    wanted = tuple(sys.argv[1:])
    checks = (forbidden_names, forbidden_texts, classes_of_one_name, functions_of_one_name)
    for text in [text for check in checks for text in check()]:
        if text.startswith(wanted or ""):
            print(text)
