"""Dataclasses from dicts, with errors that name the key.

The dataclasses are the schema: their fields are the keys, their annotations the types. An unknown
key gets a hint with the key that was probably meant. docs/lessons.md says why no library does this.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Any, Final, TypeVar, cast, get_args, get_origin, get_type_hints

from protocol.errors import SpecError
from protocol.pipeline import Pipeline
from protocol.text import confusable_note
from protocol.unknown_key import LONGEST, unknown_key_hint

T = TypeVar("T")
LONGEST_LIST: Final = 1000
_TYPE_NAMES = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}


def from_dict(cls: type[T], table: object, key: str = "") -> T:
    """An instance of the dataclass `cls` from the dict `table`, which is at `key`.

    Tables and lists in it become nested dataclasses and tuples. Raises SpecError that names the
    key for an unknown or missing key, and for a value of another type.
    """
    if not isinstance(table, dict):
        raise SpecError(f"{key or 'the pipeline'}: a table is needed, not {table!r:.60}")
    hints = get_type_hints(cls)
    schema = fields(cast(Any, cls))
    known = {f.name for f in schema}
    for name in table:
        if name not in known:
            raise _unknown(key, str(name)[:LONGEST], table[name])
    for f in schema:
        if f.name not in table and f.default is MISSING and f.default_factory is MISSING:
            raise SpecError(f"{_join(key, f.name)}: missing")
    return cls(**{name: _convert(hints[name], v, _join(key, name)) for name, v in table.items()})


def _unknown(table: str, key: str, value: object) -> SpecError:
    hint = unknown_key_hint(table, key, value, tuple(_key_names(Pipeline, "")))
    return SpecError(f"{_join(table, key)}: unknown key{hint}{confusable_note(key)}")


def _key_names(cls: type[object], table: str) -> Iterator[str]:
    """The dotted names of all keys of the dataclass `cls` and of the tables in it."""
    hints = get_type_hints(cls)
    for f in fields(cast(Any, cls)):
        name, hint = _join(table, f.name), hints[f.name]
        if get_origin(hint) is tuple:
            name, hint = f"{name}[i]", get_args(hint)[0]
        if is_dataclass(hint):
            yield from _key_names(cast(type[object], hint), name)
        yield _join(table, f.name)


def _join(table: str, key: str) -> str:
    return f"{table}.{key}" if table else str(key)


def _convert(hint: Any, value: object, key: str) -> object:
    if get_origin(hint) is UnionType:
        hint = get_args(hint)[0]
    if is_dataclass(hint):
        return from_dict(cast(type[object], hint), value, key)
    if get_origin(hint) is dict:
        return _dict(get_args(hint)[1], value, key)
    if get_origin(hint) is tuple:
        return _tuple(get_args(hint)[0], value, key)
    return _scalar(hint, value, key)


def _dict(item: Any, value: object, key: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise SpecError(f"{key}: a table is needed, not {value!r:.60}")
    return {name: _convert(item, v, _join(key, name)) for name, v in value.items()}


def _tuple(item: Any, value: object, key: str) -> tuple[object, ...]:
    if not isinstance(value, list | tuple):
        raise SpecError(f"{key}: a list is needed, not {value!r:.60}")
    if len(value) > LONGEST_LIST:
        raise SpecError(f"{key}: {len(value)} entries are more than {LONGEST_LIST}")
    return tuple(_convert(item, entry, f"{key}[{i}]") for i, entry in enumerate(value))


def _scalar(hint: Any, value: object, key: str) -> object:
    if type(value) is int and abs(value) >= 1 << 63:
        raise SpecError(f"{key}: {str(value)[:20]}… is too large")
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise SpecError(f"{key}: {_TYPE_NAMES[hint]} is needed, not {value!r:.60}")
    return value
