"""Decodes image folders into arrays, and caches the arrays of archives.

Each image is decoded into its row, so memory holds the data set and one image. One error lists all
images that cannot be used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protocol.errors import DataError
from workers.data import archive, image_folder, npz, paths
from workers.data.archive import Member, UnreadableError
from workers.data.dataset import KEYS, TESTS
from workers.data.decode import DECODE_VERSION, Decoder, ImageType
from workers.data.download import write_whole
from workers.data.listing import listed
from workers.data.streams import checksum

MAX_BYTES: Final = 1 << 33
"""The largest size of the decoded images in bytes."""
_SHOWN: Final = 5
_LINES: Final = ("notes", "class_names")
"""The fields of `ImageArrays` that are cached beside the arrays."""

Arrays = dict[str, NDArray[np.generic]]


class ImageArrays(NamedTuple):
    """The arrays by their names in `dataset.KEYS`, notes on how they were read, and class names."""

    arrays: Arrays
    notes: tuple[str, ...]
    class_names: tuple[str, ...]


def read_folder(path: Path, tests_only: bool = False) -> ImageArrays:
    """The arrays of an image folder: uint8 `(n, h, w, c)` or `(n, h, w)`.

    With `tests_only` only those of the test set. Raises DataError that lists the images which are
    broken or differ from the others in mode or size.
    """
    return _decoded(partial(image_folder.folder_members, path), str(path), tests_only)


def read_archive(path: Path, tests_only: bool = False) -> ImageArrays:
    """The arrays of an image folder in a tar or zip, cached under the checksum of the archive."""
    cache = paths.cache_folder_if_any("images")
    if cache is None:  # decoded again at every call
        return _decoded(partial(archive.archive_members, path), str(path), tests_only)
    digest = checksum(path, "sha256")
    whole, tests = (cache / f"{digest}-{_version()}{end}.npz" for end in ("", "-test"))
    wanted = TESTS if tests_only else KEYS
    for kept in (whole, tests)[: 1 + tests_only]:
        with suppress(DataError):  # missing or broken
            arrays = npz.read_arrays(kept, (*wanted, *_LINES))
            return ImageArrays(arrays, *(tuple(map(str, arrays.pop(key))) for key in _LINES))
    read = _decoded(partial(archive.archive_members, path), str(path), tests_only)
    with suppress(DataError, OSError):  # then it is decoded at every call
        _keep(tests if tests_only else whole, read)
        for old in {*cache.glob(f"{digest}-*")} - {whole, tests}:
            old.unlink(missing_ok=True)
    return read


def _keep(path: Path, read: ImageArrays) -> None:
    lines = {key: np.array(getattr(read, key), np.str_) for key in _LINES}
    named: dict[str, Any] = {**read.arrays, **lines}
    write_whole(path, lambda part: np.savez(part, **named))


def _version() -> str:
    """The versions of the decoder and of Pillow, on which the arrays depend."""
    return f"{DECODE_VERSION}-{pillow_version()}"


def pillow_version() -> str:
    """The version of Pillow, or "none"."""
    try:
        return version("pillow")
    except PackageNotFoundError:
        return "none"


def _decoded(members: Callable[[], Iterator[Member]], label: str, tests_only: bool) -> ImageArrays:
    decoder = Decoder(label)
    index = image_folder.index_images(members(), label, decoder.is_image, tests_only)
    made = _Images(index, label)
    waiting = dict(index.rows)
    for member in members():
        if place := waiting.pop(member.name, None):
            made.add(member, place, decoder)
    if waiting:
        raise DataError(f"{label}: {min(waiting)!r} was deleted while it was being read")
    made.refuse()
    arrays: Arrays = {}
    for split, labels in index.labels.items():
        arrays |= {f"x_{split}": made.x[split], f"y_{split}": labels}
    return ImageArrays(arrays, (*index.notes, *made.notes()), index.class_names)


class _Images:
    """Fills the arrays, and collects the images that cannot be used, by name."""

    def __init__(self, index: image_folder.ImageIndex, label: str) -> None:
        self.x: dict[str, NDArray[np.uint8]] = {}
        self._index, self._label = index, label
        self._types: dict[ImageType, list[str]] = {}
        self._bad: dict[str, str] = {}
        self._remedies: dict[str, None] = {}  # without duplicates, in order
        self._animated: list[str] = []

    def add(self, member: Member, place: tuple[str, int], decoder: Decoder) -> None:
        """Decode an image into `place`, a split and a row."""
        try:
            type_, pixels, frames = decoder(member.read())
        except UnreadableError as error:
            self._bad[member.name] = str(error)
            self._remedies[error.remedy] = None
            return
        if not self._types:
            self.x = _room(self._index, pixels.shape, self._label)
        self._types.setdefault(type_, []).append(member.name)
        if frames > 1:
            self._animated.append(member.name)
        if len(self._types) == 1:
            split, row = place
            self.x[split][row] = pixels

    def refuse(self) -> None:
        """Raise DataError that lists the images which are broken or differ from most others."""
        bad, most = dict(self._bad), []
        if len(self._types) > 1:
            usual = max(self._types, key=lambda type_: len(self._types[type_]))
            one = self._types[usual][0]
            odd = (type_ for type_ in self._types if type_ != usual)
            bad |= {name: f"is {type_}" for type_ in odd for name in self._types[type_]}
            most.append(f"most, such as {one!r}, are {usual}: convert or resize the others")
        if bad:
            them = "it" if len(bad) == 1 else "them"
            remedy = "; ".join([*(text.format(them) for text in self._remedies), *most])
            raise DataError(f"{self._label}: {self._listed(bad)}; {remedy}")

    def _listed(self, bad: Mapping[str, str]) -> str:
        """The images that cannot be used, with the reasons."""
        names, reasons = sorted(bad), {*bad.values()}
        count = f"{len(bad):,} of {len(self._index.rows):,} images cannot be used"
        if len(bad) == 1:
            return f"{names[0]!r}: {bad[names[0]]}"
        if len(reasons) == 1:
            return f"{count}, as each {reasons.pop()}: {listed(map(repr, names))}"
        return f"{count}: {listed((f'{name!r}: {bad[name]}' for name in names), divider='; ')}"

    def notes(self) -> tuple[str, ...]:
        """A note on images with several frames, of which the first was read."""
        if not self._animated:
            return ()
        shown = listed((repr(name) for name in sorted(self._animated)), _SHOWN)
        return (f"only the first frame or page of these images is read: {shown}",)


def _room(
    index: image_folder.ImageIndex, shape: tuple[int, ...], label: str
) -> dict[str, NDArray[np.uint8]]:
    size = len(index.rows) * math.prod(shape)
    if size > MAX_BYTES:
        raise DataError(
            f"{label}: {len(index.rows)} images of {shape} have {size >> 30} GiB; "
            f"at most {MAX_BYTES >> 30} GiB are allowed: make the images smaller"
        )
    try:
        return {split: np.empty((len(y), *shape), np.uint8) for split, y in index.labels.items()}
    except MemoryError as error:
        raise DataError(f"{label}: not enough memory: {error}") from None
