"""Print JSON on standard output, for every command with --json."""

from __future__ import annotations

from collections.abc import Iterable


def print_json(value: object) -> None:
    """Print `value` on one line. Raises OSError; BrokenPipeError if the reader has gone away."""
    from protocol.builtin import to_json

    print(to_json(value), flush=True)


def print_json_list(rows: Iterable[object]) -> None:
    """Print a list with one line per row, as `rows` yields them. Raises OSError."""
    from protocol.builtin import to_json

    separator = "["
    for row in rows:
        print(separator, to_json(row), sep="", end="")
        separator = ",\n "
    print("]" if separator != "[" else "[]", flush=True)
