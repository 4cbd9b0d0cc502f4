"""Trees of images become arrays, and those of an archive only once.

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
"""Bytes that the images of a data set may have as arrays."""
_SHOWN: Final = 5
_LINES: Final = ("notes", "kinds")
"""What is kept of a `Read` beside its arrays."""

Arrays = dict[str, NDArray[np.generic]]


class ImageArrays(NamedTuple):
    """Arrays by their names in `dataset.KEYS`, notes on how they were read, and the classes."""

    arrays: Arrays
    notes: tuple[str, ...]
    kinds: tuple[str, ...]


def read_folder(path: Path, tests_only: bool = False) -> ImageArrays:
    """The arrays of the tree of images in a folder: uint8 `(n, h, w, c)` or `(n, h, w)`.

    With `tests_only` those of the test set alone. Raises DataError that names the images which are
    broken or unlike the others.
    """
    return _decoded(partial(image_folder.folder_members, path), str(path), tests_only)


def read_archive(path: Path, tests_only: bool = False) -> ImageArrays:
    """The same of the tree in a tar or zip; kept in the cache, by the archive's checksum."""
    cache = paths.cache_folder_if_any("images")
    if cache is None:  # it is decoded again the next time
        return _decoded(partial(archive.archive_members, path), str(path), tests_only)
    digest = checksum(path, "sha256")
    whole, tests = (cache / f"{digest}-{_version()}{end}.npz" for end in ("", "-test"))
    wanted = TESTS if tests_only else KEYS
    for kept in (whole, tests)[: 1 + tests_only]:
        with suppress(DataError):  # it is not there, or broken
            arrays = npz.read_arrays(kept, (*wanted, *_LINES))
            return ImageArrays(arrays, *(tuple(map(str, arrays.pop(key))) for key in _LINES))
    read = _decoded(partial(archive.archive_members, path), str(path), tests_only)
    with suppress(DataError, OSError):  # as without a cache
        _keep(tests if tests_only else whole, read)
        for old in {*cache.glob(f"{digest}-*")} - {whole, tests}:
            old.unlink(missing_ok=True)
    return read


def _keep(path: Path, read: ImageArrays) -> None:
    lines = {key: np.array(getattr(read, key), np.str_) for key in _LINES}
    named: dict[str, Any] = {**read.arrays, **lines}
    write_whole(path, lambda part: np.savez(part, **named))


def _version() -> str:
    """That of the rules and of Pillow, on which the decoded arrays depend."""
    return f"{DECODE_VERSION}-{pillow_version()}"


def pillow_version() -> str:
    """The version of Pillow."""
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
        raise DataError(f"{label}: {min(waiting)!r} went away while it was being read")
    made.refuse()
    arrays: Arrays = {}
    for part, labels in index.labels.items():
        arrays |= {f"x_{part}": made.x[part], f"y_{part}": labels}
    return ImageArrays(arrays, (*index.notes, *made.notes()), index.kinds)


class _Images:
    """The arrays while they are filled, and the images that do not fit, by name."""

    def __init__(self, index: image_folder.ImageIndex, label: str) -> None:
        self.x: dict[str, NDArray[np.uint8]] = {}
        self._index, self._label = index, label
        self._kinds: dict[ImageType, list[str]] = {}
        self._bad: dict[str, str] = {}
        self._mends: dict[str, None] = {}  # each once, in order
        self._moving: list[str] = []

    def add(self, member: Member, place: tuple[str, int], decoder: Decoder) -> None:
        """Decode an image, which belongs at `place`, a part and a row."""
        try:
            kind, pixels, frames = decoder(member.read())
        except UnreadableError as error:
            self._bad[member.name] = str(error)
            self._mends[error.mend] = None
            return
        if not self._kinds:
            self.x = _room(self._index, pixels.shape, self._label)
        self._kinds.setdefault(kind, []).append(member.name)
        if frames > 1:
            self._moving.append(member.name)
        if len(self._kinds) == 1:
            part, row = place
            self.x[part][row] = pixels

    def refuse(self) -> None:
        """Raise DataError that names the images which are broken or unlike most others."""
        bad, most = dict(self._bad), []
        if len(self._kinds) > 1:
            usual = max(self._kinds, key=lambda kind: len(self._kinds[kind]))
            one = self._kinds[usual][0]
            odd = (kind for kind in self._kinds if kind != usual)
            bad |= {name: f"is {kind}" for kind in odd for name in self._kinds[kind]}
            most.append(f"most, such as {one!r}, are {usual}: convert or resize the others")
        if bad:
            them = "it" if len(bad) == 1 else "them"
            mend = "; ".join([*(text.format(them) for text in self._mends), *most])
            raise DataError(f"{self._label}: {self._listed(bad)}; {mend}")

    def _listed(self, bad: Mapping[str, str]) -> str:
        """The images that cannot be used, with what is wrong with them."""
        names, reasons = sorted(bad), {*bad.values()}
        count = f"{len(bad):,} of {len(self._index.rows):,} images cannot be used"
        if len(bad) == 1:
            return f"{names[0]!r}: {bad[names[0]]}"
        if len(reasons) == 1:
            return f"{count}, as each {reasons.pop()}: {listed(map(repr, names))}"
        return f"{count}: {listed((f'{name!r}: {bad[name]}' for name in names), divider='; ')}"

    def notes(self) -> tuple[str, ...]:
        """A note on images of which one frame was read."""
        if not self._moving:
            return ()
        shown = listed((repr(name) for name in sorted(self._moving)), _SHOWN)
        return (f"of images with several frames or pages the first is read: {shown}",)


def _room(
    index: image_folder.ImageIndex, shape: tuple[int, ...], label: str
) -> dict[str, NDArray[np.uint8]]:
    size = len(index.rows) * math.prod(shape)
    if size > MAX_BYTES:
        raise DataError(
            f"{label}: {len(index.rows)} pictures of {shape} have {size >> 30} GiB; "
            f"at most {MAX_BYTES >> 30} are read, so make them smaller"
        )
    try:
        return {part: np.empty((len(y), *shape), np.uint8) for part, y in index.labels.items()}
    except MemoryError as error:
        raise DataError(f"{label}: more memory than there is: {error}") from None
