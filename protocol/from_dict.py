"""Pipelines from TOML files and overrides, with errors that name the key.

The dataclasses of `protocol.pipeline` are the schema: their fields are the keys, their annotations
the types.
"""

from __future__ import annotations

import os
import platform
import re
import tomllib
from collections.abc import Collection, Iterator
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any, Final, TypeVar, cast, get_args, get_origin, get_type_hints

from protocol.did_you_mean import LONGEST, proposal
from protocol.errors import SpecError
from protocol.paths import short, user_path
from protocol.pipeline import HEAD, Pipeline
from protocol.text import odd_in_toml, odd_note, read_text
from protocol.validation import is_path

T = TypeVar("T")
LONGEST_LIST: Final = 1000
_WORDS = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}


def build(cls: type[T], table: object, key: str = "") -> T:
    """An instance of the dataclass `cls` from a dict. Raises SpecError that names the key."""
    if not isinstance(table, dict):
        raise SpecError(f"{key or 'the pipeline'}: a table is needed, not {table!r:.60}")
    hints = get_type_hints(cls)
    schema = fields(cast(Any, cls))
    known = [f.name for f in schema]
    for word in table:
        if word not in known:
            unknown = str(word)[:LONGEST]
            meant = proposal(key, unknown, table[word], tuple(_names(Pipeline, "")))
            raise SpecError(f"{_join(key, unknown)}: unknown key{meant}{odd_note(unknown)}")
    for f in schema:
        if f.name not in table and f.default is MISSING and f.default_factory is MISSING:
            raise SpecError(f"{_join(key, f.name)}: missing")
    return cls(**{word: _convert(hints[word], v, _join(key, word)) for word, v in table.items()})


def _names(cls: type[object], table: str) -> Iterator[str]:
    """The dotted names of all keys of the dataclass `cls` and the tables in it."""
    hints = get_type_hints(cls)
    for f in fields(cast(Any, cls)):
        name, hint = _join(table, f.name), hints[f.name]
        if get_origin(hint) is tuple:
            name, hint = f"{name}[i]", get_args(hint)[0]
        if is_dataclass(hint):
            yield from _names(cast(type[object], hint), name)
        yield _join(table, f.name)


def _join(key: str, word: str) -> str:
    return f"{key}.{word}" if key else str(word)


def _convert(hint: Any, value: object, key: str) -> object:
    if get_origin(hint) is UnionType:
        hint = get_args(hint)[0]
    if is_dataclass(hint):
        return build(cast(type[object], hint), value, key)
    if get_origin(hint) is dict:
        if not isinstance(value, dict):
            raise SpecError(f"{key}: a table is needed, not {value!r:.60}")
        _, item = get_args(hint)
        return {word: _convert(item, v, _join(key, word)) for word, v in value.items()}
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise SpecError(f"{key}: a list is needed, not {value!r:.60}")
        if len(value) > LONGEST_LIST:
            raise SpecError(f"{key}: {len(value)} entries are more than {LONGEST_LIST}")
        item = get_args(hint)[0]
        return tuple(_convert(item, entry, f"{key}[{i}]") for i, entry in enumerate(value))
    if type(value) is int and abs(value) >= 1 << 63:
        raise SpecError(f"{key}: {str(value)[:20]}… is too large")
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise SpecError(f"{key}: {_WORDS[hint]} is needed, not {value!r:.60}")
    return value


def read_pipeline(path: Path, overrides: Collection[str] = (), called: str = "") -> Pipeline:
    """The pipeline in the TOML file `path`, with `a.b=value` overrides.

    A relative `data.path` in the file starts from the file's folder, one in an override from the
    current folder, one on another machine from the folder in which that joined. Raises SpecError
    that names the file and the key; of a file that the user did not name, what it is `called`, or
    the override that set the key.
    """
    where = called or path
    text = read_text(path)
    if not text.strip() and not overrides:
        raise SpecError(f"{where}: is empty; data: missing, layer: missing")
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, and numbers out of all reason
        odd = odd_in_toml(text, str(error))
        raise SpecError(f"{where}: not TOML: {error}{odd}") from None
    table.setdefault("name", _decoded(path.stem))
    folder = path.parent
    try:
        for override in overrides:
            if _override(table, override)[:2] in (["data"], ["data", "path"]):
                folder = Path()
        _locate(table.get("data"), folder)
        return build(Pipeline, table)
    except SpecError as error:
        if called:
            raise SpecError(blame(str(error), overrides, tomllib.loads(text), called)) from None
        raise SpecError(f"{path}: {error}") from None


def blame(error: str, overrides: Collection[str], table: object, where: str) -> str:
    """`error` behind what it is about: the override that set the key with which it begins.

    Where none did, as the `table` has the key without them, that is `where`.
    """
    key = _dotted(error.partition(": ")[0])
    for override in map(_decoded, reversed([*overrides])):
        name = _dotted(override.partition("=")[0].strip())
        below = name.startswith(f"{key}.") and not _holds(table, key.split("."))
        if below or key == name or key.startswith(f"{name}."):
            return f"-o {short(override)}: {error}"
    return error if error.startswith("-o ") else f"{where}: {error}"


def _dotted(key: str) -> str:
    """`key` as an override has it: `layer.0` for `layer[0]`."""
    return re.sub(r"\[(\w+)\]", r".\1", key)


def _holds(table: Any, words: list[str]) -> bool:
    for word in words:
        if isinstance(table, list) and word.isdecimal() and int(word) < len(table):
            table = table[int(word)]
        elif isinstance(table, dict) and word in table:
            table = table[word]
        else:
            return False
    return True


def located(pipeline: Pipeline) -> Pipeline:
    """`pipeline` with an absolute `data.path`, which means the same from every folder.

    A path on another machine is left as it is; the name of this one means the head.
    """
    if pipeline.data.host == platform.node():
        pipeline = replace(pipeline, data=replace(pipeline.data, host=HEAD))
    if pipeline.data.path is None or pipeline.data_away:
        return pipeline
    data = replace(pipeline.data, path=_absolute(Path(), pipeline.data.path))
    return replace(pipeline, data=data)


def _locate(data: object, folder: Path) -> None:
    """Let a path in the table `data` be absolute, unless it is for another machine."""
    if not isinstance(data, dict) or not isinstance(data.get("path"), str):
        return
    if data.get("host", HEAD) in (HEAD, platform.node()):
        data["path"] = _absolute(folder, data["path"])


def _absolute(folder: Path, path: str) -> str:
    """`path` as seen from `folder`; what cannot be a path is left to `Data` to refuse."""
    if not is_path(path):
        return path
    return str((folder / user_path(path, "data.path")).resolve())


def _override(table: dict[str, Any], override: str) -> list[str]:
    """Set one key of `table`; returns its words. The value is TOML; what is not is a string."""
    override = _decoded(override)
    key, equals, text = override.partition("=")
    words = key.strip().split(".")
    if not equals or not all(words):
        raise SpecError(
            f"-o {override}: give it as key=value, such as train.steps=100{odd_note(override)}"
        )
    try:
        value = tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{key.strip()}: not a value: {error}") from None
    target: Any = table
    for word in words[:-1]:
        target = _inside(target, word, override)
    last = words[-1]
    if isinstance(target, list):
        _inside(target, last, override)
        target[int(last)] = value
    else:
        target[last] = value
        if words[0] == "data" and last in ("name", "path"):
            target.pop({"name": "path", "path": "name"}[last], None)
    return words


def _decoded(text: str) -> str:
    """`text` from the command line or a file's name as UTF-8, whatever the locale takes it for.

    What is no UTF-8 is left as it is.
    """
    try:
        return os.fsencode(text).decode("utf-8")
    except UnicodeError:
        return text


def _inside(target: Any, word: str, override: str) -> Any:
    if isinstance(target, list):
        if not word.isdecimal() or len(word) > 9 or int(word) >= len(target):
            raise SpecError(f"-o {override}: {word!r} is not one of 0 … {len(target) - 1}")
        return target[int(word)]
    inside = target.setdefault(word, {})
    if not isinstance(inside, dict | list):
        raise SpecError(f"-o {override}: {word!r} has no keys")
    return inside
