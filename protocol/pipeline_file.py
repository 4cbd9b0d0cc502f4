"""Pipelines from TOML files and from `key=value` overrides of the command line."""

from __future__ import annotations

import os
import platform
import re
import tomllib
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from protocol.config import HEAD
from protocol.errors import SpecError
from protocol.from_dict import from_dict
from protocol.paths import shortened, user_path
from protocol.pipeline import Pipeline
from protocol.text import confusable_in_toml, confusable_note, read_text_file
from protocol.validation import is_path


def read_pipeline(path: Path, overrides: Collection[str] = (), called: str = "") -> Pipeline:
    """The pipeline in the TOML file `path`, with `a.b=value` overrides.

    A relative `data.path` in the file starts at the file's folder, one in an override at the
    current folder; if `data.host` is another host, it starts at the folder of that host's agent.
    Raises SpecError that names the file and the key. For a file that the user did not name,
    `called` is its name in errors, and an error in an override names the override instead.
    """
    text = read_text_file(path)
    table = _parsed(text, called or str(path), bool(overrides))
    table.setdefault("name", _as_utf8(path.stem))
    folder = path.parent
    try:
        for override in overrides:
            if _apply(table, override)[:2] in (["data"], ["data", "path"]):
                folder = Path()
        _resolve_path(table.get("data"), folder)
        return from_dict(Pipeline, table)
    except SpecError as error:
        if called:
            raise SpecError(
                name_source(str(error), overrides, tomllib.loads(text), called)
            ) from None
        raise SpecError(f"{path}: {error}") from None


def _parsed(text: str, where: str, overridden: bool) -> dict[str, Any]:
    if not text.strip() and not overridden:
        raise SpecError(f"{where}: is empty; data: missing, layer: missing")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, and too many digits or levels
        note = confusable_in_toml(text, str(error))
        raise SpecError(f"{where}: not TOML: {error}{note}") from None


def name_source(error: str, overrides: Collection[str], table: object, where: str) -> str:
    """`error` after the name of its source: the override that set the key it begins with.

    If no override set the key, because `table`, which is the file, has it, the source is `where`.
    """
    key = _dotted(error.partition(": ")[0])
    for override in map(_as_utf8, reversed([*overrides])):
        name = _dotted(override.partition("=")[0].strip())
        below = name.startswith(f"{key}.") and not _has_key(table, key.split("."))
        if below or key == name or key.startswith(f"{name}."):
            return f"-o {shortened(override)}: {error}"
    return error if error.startswith("-o ") else f"{where}: {error}"


def _dotted(key: str) -> str:
    """`key` in the form of an override: `layer.0` for `layer[0]`."""
    return re.sub(r"\[(\w+)\]", r".\1", key)


def _has_key(table: Any, names: list[str]) -> bool:
    for name in names:
        if isinstance(table, list) and name.isdecimal() and int(name) < len(table):
            table = table[int(name)]
        elif isinstance(table, dict) and name in table:
            table = table[name]
        else:
            return False
    return True


def with_absolute_path(pipeline: Pipeline) -> Pipeline:
    """`pipeline` with an absolute `data.path`, which is valid in every folder.

    The name of this host as `data.host` becomes "head". A path on another host stays as it is.
    """
    if pipeline.data.host == platform.node():
        pipeline = replace(pipeline, data=replace(pipeline.data, host=HEAD))
    if pipeline.data.path is None or pipeline.remote_data:
        return pipeline
    data = replace(pipeline.data, path=_absolute(Path(), pipeline.data.path))
    return replace(pipeline, data=data)


def _resolve_path(data: object, folder: Path) -> None:
    """Make the path in the table `data` absolute, unless another host has the data."""
    if not isinstance(data, dict) or not isinstance(data.get("path"), str):
        return
    if data.get("host", HEAD) in (HEAD, platform.node()):
        data["path"] = _absolute(folder, data["path"])


def _absolute(folder: Path, path: str) -> str:
    """`path` relative to `folder` as an absolute path. `DataConfig` refuses what is no path."""
    if not is_path(path):
        return path
    return str((folder / user_path(path, "data.path")).resolve())


def _apply(table: dict[str, Any], override: str) -> list[str]:
    """Set one key of `table` and return its parts. A value that is not TOML is a string."""
    override = _as_utf8(override)
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise SpecError(
            f"-o {override}: give it as key=value, such as train.steps=100"
            f"{confusable_note(override)}"
        )
    value = _value(key.strip(), text)
    target: Any = table
    for part in parts[:-1]:
        target = _child(target, part, override)
    last = parts[-1]
    if isinstance(target, list):
        _child(target, last, override)
        target[int(last)] = value
    else:
        target[last] = value
        if parts[0] == "data" and last in ("name", "path"):
            target.pop({"name": "path", "path": "name"}[last], None)
    return parts


def _value(key: str, text: str) -> object:
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text.strip()
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{key}: not a value: {error}") from None


def _as_utf8(text: str) -> str:
    """`text` from the command line or a file name decoded as UTF-8, whatever the locale is.

    Text that is not UTF-8 stays as it is.
    """
    try:
        return os.fsencode(text).decode("utf-8")
    except UnicodeError:
        return text


def _child(target: Any, part: str, override: str) -> Any:
    if isinstance(target, list):
        if not part.isdecimal() or len(part) > 9 or int(part) >= len(target):
            raise SpecError(f"-o {override}: {part!r} is not one of 0 … {len(target) - 1}")
        return target[int(part)]
    child = target.setdefault(part, {})
    if not isinstance(child, dict | list):
        raise SpecError(f"-o {override}: {part!r} has no keys")
    return child
