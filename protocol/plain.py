"""Values as TOML and msgpack can hold them."""

from __future__ import annotations


def plain(table: dict[str, object]) -> dict[str, object]:
    """`table` with lists for tuples, and without what is None."""
    return {key: plain_value(value) for key, value in table.items() if value is not None}


def plain_value(value: object) -> object:
    """The same of any value."""
    if isinstance(value, dict):
        return plain(value)
    if isinstance(value, tuple):
        return [plain_value(item) for item in value]
    return value
