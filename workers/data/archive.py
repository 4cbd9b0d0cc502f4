"""The members of a tar archive, read one after the other; nothing is ever written to the disk.

Names and sizes in an archive are its author's claim: names are only compared, and no more is
held at a time than one member of bounded size, however much the archive decompresses to.
"""

from __future__ import annotations

import itertools
import tarfile
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, TypeVar, cast

from protocol.errors import DataError
from workers.data.content import BROKEN, opened, take

T = TypeVar("T")
LARGEST: Final = 1 << 26
"""Bytes that a member may have."""
MOST: Final = 1 << 21
"""Members that an archive may have."""
_SLACK: Final = 1 << 20  # bytes of headers and padding around a member
_MAGIC: Final = slice(257, 262)


@dataclass(frozen=True, slots=True)
class Member:
    """A file or folder; `read` gives a file's content until the next member is asked for."""

    name: str
    folder: bool
    read: Callable[[], bytes]


def is_tar(path: Path) -> bool:
    """Whether the file at `path`, decompressed, starts like a tar archive. Raises DataError."""
    with opened(path) as stream:
        return take(stream, _MAGIC.stop)[_MAGIC] == b"ustar"


def members(path: Path) -> Iterator[Member]:
    """The files and folders in the archive at `path`, in its order, gzip or xz or neither.

    Links and devices are passed over. Raises DataError, as does `Member.read`, for an archive that
    is broken, has more than `MOST` members or one of more than `LARGEST` bytes.
    """
    with opened(path) as stream:
        metered = _Metered(stream, path)
        with _sound(path, partial(tarfile.open, fileobj=metered, mode="r|")) as tar:
            for number in itertools.count(1):
                if (found := _sound(path, tar.next)) is None:
                    return
                if number > MOST:
                    raise DataError(f"{path}: has more than {MOST} members")
                tar.members = []  # type: ignore[attr-defined]  # or it remembers every one
                if found.size > LARGEST:
                    raise DataError(f"{path}: {found.name!r} has more than {LARGEST} bytes")
                if found.isreg() or found.isdir():
                    name = found.name.removeprefix("./")
                    yield Member(name, found.isdir(), partial(_read, tar, found, path))
                metered.refill()


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> bytes:
    file = cast(BinaryIO, tar.extractfile(member))
    return _sound(path, file.read)


class _Metered:
    """A stream that yields no more than one member's worth of bytes until it is refilled."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self._stream, self._path = stream, path
        self.refill()

    def refill(self) -> None:
        self._left = LARGEST + _SLACK

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise DataError(f"{self._path}: a header claims more than {LARGEST} bytes")
        return data


def _sound(path: Path, call: Callable[[], T]) -> T:
    try:
        return call()
    except (DataError, OSError, *BROKEN):  # told by those that raise and open
        raise
    # Every kind: what tarfile raises over a broken header is no part of its promise.
    except Exception as error:
        raise DataError(
            f"{path}: broken tar: {textwrap.shorten(str(error), 160)}; fetch the file again"
        ) from error
