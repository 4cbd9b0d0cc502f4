"""Pictures become arrays: decoded by Pillow, and those of an archive only once.

What a picture claims to be is compared before it is decoded, and each goes straight to its row:
no more is held than the data set and one picture.
"""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from protocol.errors import DataError
from workers.data import archive, npz, places, tree
from workers.data.archive import Member
from workers.data.content import checksum
from workers.data.download import keep

if TYPE_CHECKING:
    from PIL import Image

LARGEST: Final = 1 << 33
"""Bytes that the pictures of a data set may have as arrays."""
PIXELS: Final = 1 << 24
"""Pixels that one picture may have."""
_CHANNELS: Final[dict[str, tuple[int, ...]]] = {"L": (), "RGB": (3,), "RGBA": (4,)}

Arrays = dict[str, NDArray[np.generic]]


def folder(path: Path) -> Arrays:
    """The four arrays of the tree of pictures in a folder: uint8 `(n, h, w, c)` or `(n, h, w)`.

    Raises DataError that names the picture which is broken or unlike the first one.
    """
    return _decoded(partial(tree.members, path), str(path))


def packed(path: Path) -> Arrays:
    """The same of the tree in a tar archive; kept in the cache, by the archive's checksum."""
    kept = places.cache("images") / f"{checksum(path, 'sha256')}.npz"
    with suppress(DataError):  # it is not there, or broken
        return npz.read(kept)
    arrays = _decoded(partial(archive.members, path), str(path))
    named: dict[str, Any] = arrays  # numpy's own annotation knows no names
    with suppress(DataError):  # without a cache it is decoded again the next time
        keep(kept, lambda part: np.savez(part, **named))
    return arrays


def _decoded(members: Callable[[], Iterator[Member]], label: str) -> Arrays:
    decoder = _Decoder(label)
    index = tree.index(members(), label)
    x: dict[str, NDArray[np.uint8]] = {}
    waiting = dict(index.rows)
    for member in members():
        if (place := waiting.pop(member.name, None)) is None:
            continue
        picture = decoder(member)
        if not x:
            x = _room(index, picture.shape, label)
        part, row = place
        x[part][row] = picture
    if waiting:
        raise DataError(f"{label}: {min(waiting)!r} went away while it was being read")
    return {f"{key}_{part}": a[part] for key, a in (("x", x), ("y", index.labels)) for part in a}


def _room(index: tree.Index, shape: tuple[int, ...], label: str) -> dict[str, NDArray[np.uint8]]:
    size = len(index.rows) * math.prod(shape)
    if size > LARGEST:
        raise DataError(
            f"{label}: {len(index.rows)} pictures of {shape} have {size >> 30} GiB; "
            f"at most {LARGEST >> 30} are read, so make them smaller"
        )
    try:
        return {part: np.empty((len(y), *shape), np.uint8) for part, y in index.labels.items()}
    except MemoryError as error:
        raise DataError(f"{label}: more memory than there is: {error}") from None


class _Decoder:
    """Arrays from pictures, all of the size and mode of the first one."""

    def __init__(self, label: str) -> None:
        try:
            # Not at the top: only who has pictures needs it.
            from PIL import Image, UnidentifiedImageError
        except ImportError:
            raise DataError(
                f"{label}: pictures are decoded by Pillow, which is not installed; "
                f"pip install pillow, or install dni with its extra [images]"
            ) from None
        self._label, self._open, self._unknown = label, Image.open, UnidentifiedImageError
        self._first: tuple[str, str, tuple[int, int]] | None = None

    def __call__(self, member: Member) -> NDArray[np.uint8]:
        label = f"{self._label}: {member.name!r}"
        content = member.read()
        try:
            with warnings.catch_warnings():
                # Whatever Pillow finds odd is said by an error or does not matter.
                warnings.simplefilter("ignore")
                with self._open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
                    self._compare(image, member.name, label)
                    return np.asarray(image, np.uint8)
        except DataError:
            raise
        except self._unknown:
            raise DataError(f"{label}: is no PNG or JPEG picture") from None
        # Every kind: what Pillow raises over a broken picture is no part of its promise.
        except Exception as error:
            reason = textwrap.shorten(str(error), 160)
            raise DataError(f"{label}: cannot be decoded: {reason}") from error

    def _compare(self, image: Image.Image, name: str, label: str) -> None:
        if self._first is None:
            if image.mode not in _CHANNELS:
                raise DataError(
                    f"{label}: is of mode {image.mode}; save it as RGB, RGBA or grey (L)"
                )
            if math.prod(image.size) > PIXELS:
                raise DataError(f"{label}: claims {image.width} x {image.height} pixels; too large")
            self._first = name, image.mode, image.size
        first, mode, (width, height) = self._first
        if (image.mode, image.size) != (mode, (width, height)):
            raise DataError(
                f"{label}: is {image.mode} of {image.width} x {image.height} pixels, "
                f"but {first!r} is {mode} of {width} x {height}; make all of one kind"
            )
