"""Image folders with one folder per class: maps each file to an example and a class.

An image is `train/<class>/<name>` or `test/<class>/<name>`, at any depth below its class. In an
archive one folder may be around both splits. Classes are numbered in the order of their names, and
the images of a class are in that order too, so a folder and its archive are the same data set.
"""

from __future__ import annotations

import itertools
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
"""Files of file managers, which are skipped without a note, like hidden files."""
_DATA: Final = re.compile(r"\.(npz|npy|csv|tsv)$|idx\d+-ubyte(\.gz)?$")
"""Names of files that may be data sets, but not inside an archive."""
_SHOWN: Final = 5

Classes = dict[str, list[str]]
"""The names of the images of each class."""


@dataclass(frozen=True, slots=True)
class ImageIndex:
    """The position of each image of an image folder.

    `rows` maps the name of an image to its split and row. `labels` holds the labels of each split,
    int64 `(n,)`. `class_names` are in the order of the labels. `notes` describe how the folder was
    read.
    """

    rows: dict[str, tuple[str, int]]
    labels: dict[str, NDArray[np.int64]]
    class_names: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Split:
    """The content of the folder of a split: images by class, and all other files."""

    classes: Classes = field(default_factory=dict)
    others: list[_Entry] = field(default_factory=list)


class _Entry(NamedTuple):
    """A member with the components of its path; `image` is whether it may be an image."""

    name: str
    steps: tuple[str, ...]
    folder: bool
    image: bool


def is_image_folder(folder: Path) -> bool:
    """Whether `folder` has a subfolder with the name of a split."""
    return any(split_of(child.name) and child.is_dir() for child in folder.iterdir())


def holds_image_folder(names: Iterable[str]) -> bool:
    """Whether a member of an archive, by the `names` of all members, is in a folder of a split."""
    return any(split_of(step) for name in names for step in name.split("/")[:-1][:2])


def folder_members(folder: Path) -> Iterator[Member]:
    """The files and folders in `folder`, but not in links beside the splits. Raises OSError."""
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
    if around[-1] in above:  # a link to a folder around the link
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
        if not file.is_file():  # opening a named pipe would block
            raise UnreadableError("is not a file, or is a broken link")
        if size < 0 and file.stat().st_size > MAX_MEMBER_BYTES:
            raise UnreadableError(f"has more than {MAX_MEMBER_BYTES} bytes")
        with file.open("rb") as stream:
            return stream.read(size)
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror or error}") from None


def index_images(
    found: Iterable[Member], label: str, is_image: Callable[[Member], bool], tests_only: bool
) -> ImageIndex:
    """The position of each image among the members `found`, whose first bytes may be read.

    With `tests_only` only images of the test set have a position; a training set contributes its
    class names. Raises DataError that begins with `label` for a class without images, or with
    images in one split only.
    """
    splits, notes, others = _splits(list(_entries(found, is_image)), label, tests_only)
    train, test = splits["train"].classes, splits["test"].classes
    _refuse_lacking(train, test, label, tests_only)
    class_names = sorted({*train, *test})
    rows: dict[str, tuple[str, int]] = {}
    labels = {}
    used = [split for split in SPLITS if split == "test" or not tests_only]
    for split in used:
        classes = splits[split].classes
        images = [sorted(classes.get(name, [])) for name in class_names]
        names = itertools.chain.from_iterable(images)
        rows |= {name: (split, row) for row, name in enumerate(names)}
        counts = list(map(len, images))
        labels[split] = np.repeat(np.arange(len(class_names)), counts)
    notes += _left_out([*others, *(entry for split in used for entry in splits[split].others)])
    return ImageIndex(rows, labels, tuple(class_names), tuple(notes))


def _entries(found: Iterable[Member], is_image: Callable[[Member], bool]) -> Iterator[_Entry]:
    for member in found:
        steps = tuple(step for step in member.name.split("/") if step)
        if any(map(_is_quiet, steps)):
            continue
        image = not member.folder and is_image(member)
        yield _Entry(member.name, steps, member.folder, image)


def _splits(
    entries: list[_Entry], label: str, tests_only: bool
) -> tuple[dict[str, _Split], list[str], list[_Entry]]:
    """The content of each split, notes on the folders used as splits, and the files beside them."""
    around = _around(entries)
    folders: dict[str, _Split] = {}
    roots, others = set(), []
    for entry in entries:
        top, *inner = entry.steps[around:] or ("",)
        if split_of(top) and (inner or entry.folder):
            roots.add(entry.steps[:around])
            _add(folders.setdefault(top, _Split()), entry, inner)
        elif not entry.folder:
            others.append(entry)
    if len(roots) > 1:
        names = listed((repr("/".join(root)) for root in sorted(roots)), _SHOWN)
        raise DataError(f"{label}: holds more than one image folder: under {names}")
    _refuse_duplicates(folders.values(), label)
    if not any(split.classes for split in folders.values()):
        raise _no_images(entries, label)
    return *_chosen(folders, tests_only), others


def _refuse_duplicates(splits: Iterable[_Split], label: str) -> None:
    """Refuse an archive with two images of one name."""
    images = (images for split in splits for images in split.classes.values())
    counts = Counter(itertools.chain.from_iterable(images))
    if twice := next((name for name, count in counts.items() if count > 1), None):
        raise DataError(f"{label}: holds {twice!r} twice")


def _no_images(entries: list[_Entry], label: str) -> DataError:
    files = sorted(repr(entry.name) for entry in entries if not entry.folder)
    held = f"; it holds {listed(files, _SHOWN)}" if files else ""
    if any(_DATA.search(entry.name) for entry in entries):
        held += ", which is not read from an archive: unpack it, and give the path of its content"
    return DataError(
        f"{label}: holds no images such as train/<class>/<name>.png or .jpg: "
        f"each class needs a folder of its own{held}"
    )


def _around(entries: Iterable[_Entry]) -> int:
    """The number of folders around the splits: 0 or 1."""
    tops = [{split_of(step) for e in entries for step in e.steps[at : at + 1]} for at in (0, 1)]
    return max((0, 1), key=lambda at: ("train" in tops[at], "test" in tops[at]))


def _add(split: _Split, entry: _Entry, inner: list[str]) -> None:
    """Add an entry to its split; `inner` is its path in the folder of the split."""
    if entry.folder:
        if len(inner) == 1:
            split.classes.setdefault(inner[0], [])
    elif len(inner) == 1:
        split.others.append(entry)
    else:
        images = split.classes.setdefault(inner[0], [])
        if entry.image:
            images.append(entry.name)
        else:
            split.others.append(entry)


def _chosen(folders: Mapping[str, _Split], tests_only: bool) -> tuple[dict[str, _Split], list[str]]:
    """The folder with the best name and images for each split, and a note on every other folder."""
    splits, notes = {}, []
    for split in SPLITS:
        tops = [top for top in folders if split_of(top) == split]
        tops.sort(key=lambda top: (preference(top, split) or 0, top != split))
        tops.sort(key=lambda top: not any(folders[top].classes.values()))
        splits[split] = folders[tops[0]] if tops else _Split()
        if tests_only and split == "train":
            continue
        if tops and tops[0] != split:
            notes.append(f"{tops[0]}/ is used as {split}/")
        notes += [f"{top}/ is not used: {tops[0]}/ is the {split} set" for top in tops[1:]]
    return splits, notes


def _refuse_lacking(train: Classes, test: Classes, label: str, tests_only: bool) -> None:
    """Refuse missing splits, empty classes, and splits with different classes."""
    for split, classes, other in (("train", train, test), ("test", test, train)):
        if not classes and not (tests_only and split == "train"):
            raise DataError(
                f"{label}: has no {split}/<class>/ folders; move some of the images of each class "
                f"there, such as those for {split}/{min(other)}/"
            )
    _refuse_empty({"test": test} if tests_only else {"train": train, "test": test}, label)
    lacking = {"test": train.keys() - test.keys(), "train": test.keys() - train.keys()}
    for split, names in lacking.items():
        if names and not tests_only:
            classes_ = "class" if len(names) == 1 else "classes"
            raise DataError(
                f"{label}: {split}/ lacks the {classes_} {listed(map(repr, sorted(names)))}, "
                "which the other split has"
            )


def _refuse_empty(splits: Mapping[str, Classes], label: str) -> None:
    """Refuse classes without images."""
    empty = [
        f"{split}/{name}"
        for split, classes in splits.items()
        for name, images in classes.items()
        if not images
    ]
    if empty:
        one = len(empty) == 1
        raise DataError(
            f"{label}: the {'class' if one else 'classes'} {listed(map(repr, sorted(empty)))} "
            f"{'holds' if one else 'hold'} no images; add some, or remove the "
            f"{'folder' if one else 'folders'}"
        )


def _left_out(others: list[_Entry]) -> list[str]:
    """Notes on files that are not examples."""
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
    """Whether a file or folder called `name` is skipped without a note."""
    return name.startswith(".") or name.lower() in _QUIET
