"""Plain values on standard output, as JSON; every command with --json prints here."""

from __future__ import annotations

from collections.abc import Iterable


def print_json(value: object) -> None:
    """Print `value` in a line. Raises OSError where that cannot be: BrokenPipeError if the reader
    has gone away."""
    from protocol.builtin import json_text

    print(json_text(value), flush=True)


def print_json_list(rows: Iterable[object]) -> None:
    """Print a list of `rows`, a line each, as they are made. Raises OSError as `print_json`."""
    from protocol.builtin import json_text

    between = "["
    for row in rows:
        print(between, json_text(row), sep="", end="")
        between = ",\n "
    print("]" if between != "[" else "[]", flush=True)
