"""Trees of pictures, one folder a class: which file is which example of which class.

A picture is `train/<class>/<name>` or `test/<class>/<name>` and ends in .png, .jpg or .jpeg; in an
archive one folder may be around both. Classes are numbered in the order of their names, and their
pictures follow one another in the order of theirs, so a folder and its archive are the same data.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocol.errors import DataError
from workers.data.archive import LARGEST, Member

PARTS: Final = ("train", "test")
_SUFFIXES: Final = (".png", ".jpg", ".jpeg")
_NAME: Final = re.compile(r"((?:[^/]+/)?)(train|test)/([^/.][^/]*)(?:/([^/.][^/]*))?/?")

Classes = dict[str, list[str]]
"""The names of the pictures of each class."""


@dataclass(frozen=True, slots=True)
class Index:
    """`rows` has the part and the row of each picture by its name, `labels` the labels of each
    part, int64 `(n,)`."""

    rows: dict[str, tuple[str, int]]
    labels: dict[str, NDArray[np.int64]]


def is_tree(folder: Path) -> bool:
    """Whether `folder` has one of the folders train and test."""
    return any((folder / part).is_dir() for part in PARTS)


def members(folder: Path) -> Iterator[Member]:
    """What lies in the classes of the tree in `folder`, and the classes. May raise OSError."""
    for part in PARTS:
        if (folder / part).is_dir():
            for kind in sorted((folder / part).iterdir()):
                if kind.is_dir():
                    name = f"{part}/{kind.name}"
                    yield Member(name, True, bytes)
                    for file in sorted(kind.iterdir()):
                        yield Member(f"{name}/{file.name}", file.is_dir(), partial(_read, file))


def _read(file: Path) -> bytes:
    if not file.is_file() or file.stat().st_size > LARGEST:
        raise DataError(f"{file}: is no file of at most {LARGEST} bytes")
    return file.read_bytes()


def index(found: Iterable[Member], label: str) -> Index:
    """Where each picture of a tree belongs; nothing is read.

    Raises DataError, which starts with `label`, for a class without pictures or in one part only.
    """
    parts = _classes(found, label)
    train, test = (set(parts[part]) for part in PARTS)
    for kind in sorted(train ^ test):
        lacking = "test" if kind in train else "train"
        raise DataError(f"{label}: {lacking}/ lacks the class {kind!r}, which the other part has")
    if not train:
        raise DataError(f"{label}: holds no pictures such as train/<class>/<name>.png or .jpg")
    rows: dict[str, tuple[str, int]] = {}
    labels = {}
    for part, classes in parts.items():
        names = [name for kind in sorted(classes) for name in sorted(classes[kind])]
        rows |= {name: (part, row) for row, name in enumerate(names)}
        counts = [len(classes[kind]) for kind in sorted(classes)]
        labels[part] = np.repeat(np.arange(len(counts)), counts)
    return Index(rows, labels)


def _classes(found: Iterable[Member], label: str) -> dict[str, Classes]:
    parts: dict[str, Classes] = {part: {} for part in PARTS}
    roots, seen = set(), set()
    for member in found:
        match = _NAME.fullmatch(member.name)
        if match is None or not (match[4] or member.folder):
            continue
        pictures = parts[match[2]].setdefault(match[3], [])
        roots.add(match[1])
        if not member.folder and member.name.lower().endswith(_SUFFIXES):
            if member.name in seen:
                raise DataError(f"{label}: holds {member.name!r} twice")
            seen.add(member.name)
            pictures.append(member.name)
    if len(roots) > 1:
        raise DataError(f"{label}: holds more than one tree: under {sorted(roots)!r:.100}")
    for part, classes in parts.items():
        for kind, pictures in classes.items():
            if not pictures:
                raise DataError(f"{label}: the class {f'{part}/{kind}'!r} holds no pictures")
    return parts
