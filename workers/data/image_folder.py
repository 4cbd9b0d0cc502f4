"""Trees of images, one folder a class: which file is which example of which class.

An image is `train/<class>/<name>` or `test/<class>/<name>`, at any depth below its class; in an
archive one folder may be around both. Classes are numbered in the order of their names, and their
images follow one another in the order of theirs, so a folder and its archive are the same data.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protocol.errors import DataError
from workers.data.archive import MAX_MEMBER_BYTES, Member, UnreadableError
from workers.data.listing import listed
from workers.data.names import SPLITS, preference, split_of

_QUIET: Final = {"thumbs.db", "desktop.ini", "__macosx"}
"""Files of file managers, which are skipped without a note, as hidden files are."""
_DATA: Final = re.compile(r"\.(npz|npy|csv|tsv)$|idx\d+-ubyte(\.gz)?$")
"""The end of the name of a file that may be a data set, but not within an archive."""
_SHOWN: Final = 5

Classes = dict[str, list[str]]
"""The names of the images of each class."""


@dataclass(frozen=True, slots=True)
class ImageIndex:
    """`rows` has the part and the row of each image by its name, `labels` the labels of each
    part, int64 `(n,)`; `kinds` are the classes in the order of their labels; `notes` says how the
    tree was read."""

    rows: dict[str, tuple[str, int]]
    labels: dict[str, NDArray[np.int64]]
    kinds: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Part:
    """What is below the folder of a part: images by class, and all other files."""

    classes: Classes = field(default_factory=dict)
    others: list[_Entry] = field(default_factory=list)


class _Entry(NamedTuple):
    """A member by the steps of its path; `image` where it is a file that may be one."""

    name: str
    steps: tuple[str, ...]
    folder: bool
    image: bool


def is_image_folder(folder: Path) -> bool:
    """Whether `folder` has a folder that is named as one of the parts."""
    return any(split_of(child.name) and child.is_dir() for child in folder.iterdir())


def holds_image_folder(names: Iterable[str]) -> bool:
    """Whether a file of an archive, whose members have these `names`, lies in one of the parts."""
    return any(split_of(step) for name in names for step in name.split("/")[:-1][:2])


def folder_members(folder: Path) -> Iterator[Member]:
    """All that lies in `folder`, but for what links lead to beside the parts. May raise OSError."""
    for child in sorted(folder.iterdir()):
        if not child.is_dir():
            yield Member(child.name, False, partial(_read, child))
        elif split_of(child.name):
            yield from _below(child, child.name, ())
        elif not child.is_symlink() and not _is_quiet(child.name):
            with suppress(OSError):
                yield from _below(child, child.name, ())


def _below(folder: Path, name: str, above: tuple[tuple[int, int], ...]) -> Iterator[Member]:
    found = folder.stat()
    around = (*above, (found.st_dev, found.st_ino))
    if around[-1] in above:  # a link to a folder that it is in
        return
    for child in sorted(folder.iterdir()):
        if _is_quiet(child.name):
            continue
        inner = f"{name}/{child.name}"
        if child.is_dir():
            yield Member(inner, True, lambda _: b"")
            yield from _below(child, inner, around)
        else:
            yield Member(inner, False, partial(_read, child))


def _read(file: Path, size: int) -> bytes:
    try:
        if not file.is_file():  # a pipe must not even be opened
            raise UnreadableError("is no file, or a link to nothing")
        if size < 0 and file.stat().st_size > MAX_MEMBER_BYTES:
            raise UnreadableError(f"has more than {MAX_MEMBER_BYTES} bytes")
        with file.open("rb") as stream:
            return stream.read(size)
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror or error}") from None


def index_images(
    found: Iterable[Member], label: str, is_image: Callable[[Member], bool], tests_only: bool
) -> ImageIndex:
    """Where each image of a tree belongs; of a file that may be one the first bytes are read.

    With `tests_only` the images are those of the test set, and the training set, if there is one,
    only says which classes there are. Raises DataError, which starts with `label`, for a class
    without images, or of training in one part only.
    """
    parts, notes, others = _parts(list(_entries(found, is_image)), label, tests_only)
    train, test = parts["train"].classes, parts["test"].classes
    _refuse_lacking(train, test, label, tests_only)
    kinds = sorted({*train, *test})
    rows: dict[str, tuple[str, int]] = {}
    labels = {}
    used = [part for part in SPLITS if part == "test" or not tests_only]
    for part in used:
        classes = parts[part].classes
        names = [name for kind in kinds for name in sorted(classes.get(kind, []))]
        rows |= {name: (part, row) for row, name in enumerate(names)}
        counts = [len(classes.get(kind, [])) for kind in kinds]
        labels[part] = np.repeat(np.arange(len(kinds)), counts)
    notes += _left_out([*others, *(entry for part in used for entry in parts[part].others)])
    return ImageIndex(rows, labels, tuple(kinds), tuple(notes))


def _entries(found: Iterable[Member], is_image: Callable[[Member], bool]) -> Iterator[_Entry]:
    for member in found:
        steps = tuple(step for step in member.name.split("/") if step)
        if any(map(_is_quiet, steps)):
            continue
        image = not member.folder and is_image(member)
        yield _Entry(member.name, steps, member.folder, image)


def _parts(
    entries: list[_Entry], label: str, tests_only: bool
) -> tuple[dict[str, _Part], list[str], list[_Entry]]:
    """The content of each part, notes on the folders that were taken for the parts, and the files
    beside them."""
    around = _around(entries)
    folders: dict[str, _Part] = {}
    roots, others = set(), []
    for entry in entries:
        top, *inner = entry.steps[around:] or ("",)
        if split_of(top) and (inner or entry.folder):
            roots.add(entry.steps[:around])
            _add(folders.setdefault(top, _Part()), entry, inner)
        elif not entry.folder:
            others.append(entry)
    if len(roots) > 1:
        names = listed((repr("/".join(root)) for root in sorted(roots)), _SHOWN)
        raise DataError(f"{label}: holds more than one tree: under {names}")
    names_seen = [
        name for part in folders.values() for kind in part.classes.values() for name in kind
    ]
    if len({*names_seen}) < len(names_seen):
        twice = next(name for name, count in Counter(names_seen).items() if count > 1)
        raise DataError(f"{label}: holds {twice!r} twice")
    if not any(part.classes for part in folders.values()):
        files = sorted(repr(entry.name) for entry in entries if not entry.folder)
        held = f"; it holds {listed(files, _SHOWN)}" if files else ""
        if any(_DATA.search(entry.name) for entry in entries):
            held += ", which no archive may hold: unpack them, and give the path of what was inside"
        raise DataError(
            f"{label}: holds no pictures such as train/<class>/<name>.png or .jpg: "
            f"each class needs a folder of its own{held}"
        )
    return *_chosen(folders, tests_only), others


def _around(entries: Iterable[_Entry]) -> int:
    """How many folders are around the parts: 0 or 1."""
    tops = [{split_of(step) for e in entries for step in e.steps[at : at + 1]} for at in (0, 1)]
    return max((0, 1), key=lambda at: ("train" in tops[at], "test" in tops[at]))


def _add(part: _Part, entry: _Entry, inner: list[str]) -> None:
    """Sort an entry that is `inner` below the folder of its part into that part."""
    if entry.folder:
        if len(inner) == 1:
            part.classes.setdefault(inner[0], [])
    elif len(inner) == 1:
        part.others.append(entry)
    else:
        images = part.classes.setdefault(inner[0], [])
        if entry.image:
            images.append(entry.name)
        else:
            part.others.append(entry)


def _chosen(folders: Mapping[str, _Part], tests_only: bool) -> tuple[dict[str, _Part], list[str]]:
    """Of several folders for a part the best name that has images; and a note of each other."""
    parts, notes = {}, []
    for part in SPLITS:
        tops = [top for top in folders if split_of(top) == part]
        tops.sort(key=lambda top: (preference(top, part) or 0, top != part))
        tops.sort(key=lambda top: not any(folders[top].classes.values()))
        parts[part] = folders[tops[0]] if tops else _Part()
        if tests_only and part == "train":
            continue
        if tops and tops[0] != part:
            notes.append(f"{tops[0]}/ is used as {part}/")
        notes += [f"{top}/ is not used: {tops[0]}/ is the {part} set" for top in tops[1:]]
    return parts, notes


def _refuse_lacking(train: Classes, test: Classes, label: str, tests_only: bool) -> None:
    """Refuse parts that are not there, or do not have the same classes, or have empty ones."""
    for part, classes, other in (("train", train, test), ("test", test, train)):
        if not classes and not (tests_only and part == "train"):
            raise DataError(
                f"{label}: has no {part}/<class>/ folders; move some of the images of each class "
                f"there, such as those for {part}/{min(other)}/"
            )
    used = {"test": test} if tests_only else {"train": train, "test": test}
    empty = [
        f"{part}/{kind}" for part in used for kind in sorted(used[part]) if not used[part][kind]
    ]
    if empty:
        one = len(empty) == 1
        raise DataError(
            f"{label}: the {'class' if one else 'classes'} {listed(map(repr, sorted(empty)))} "
            f"{'holds' if one else 'hold'} no pictures; put some there, or remove the "
            f"{'folder' if one else 'folders'}"
        )
    lacking = {"test": train.keys() - test.keys(), "train": test.keys() - train.keys()}
    for part, kinds in lacking.items():
        if kinds and not tests_only:
            classes_ = "class" if len(kinds) == 1 else "classes"
            raise DataError(
                f"{label}: {part}/ lacks the {classes_} {listed(map(repr, sorted(kinds)))}, "
                "which the other part has"
            )


def _left_out(others: list[_Entry]) -> list[str]:
    """Notes on files that are no examples."""
    notes = []
    for images, one, more in (
        (False, "file that is not an image", "files that are not images"),
        (True, "image that is in no class folder", "images that are in no class folder"),
    ):
        if names := sorted(entry.name for entry in others if entry.image == images):
            shown = listed(map(repr, names), _SHOWN)
            notes.append(f"left out {len(names):,} {one if len(names) == 1 else more}: {shown}")
    return notes


def _is_quiet(name: str) -> bool:
    """Whether a file or folder of this `name` is skipped without a note."""
    return name.startswith(".") or name.lower() in _QUIET
