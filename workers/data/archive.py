"""The members of a tar or zip archive, read one after the other; nothing is written to the disk.

Names and sizes in an archive are its author's claim: names are only compared, and no more is
held at a time than one member of bounded size, however much the archive decompresses to.
"""

from __future__ import annotations

import tarfile
import textwrap
import zipfile
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
HEAD: Final = 16
"""Bytes that tell the format of a member."""
_SLACK: Final = 1 << 20  # bytes of headers and padding around a member
_ENCRYPTED: Final = 1  # a flag of a zip's member
_MAGIC: Final = slice(257, 262)


class Unreadable(Exception):  # noqa: N818  the caller collects these and raises one DataError
    """Why a file cannot be used as an image; the text continues a sentence that names the file."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file or folder; its content can be read once, before the next member is asked for.

    Reading raises Unreadable, or DataError where the whole archive is broken.
    """

    name: str
    folder: bool
    _read: Callable[[int], bytes]

    def read(self) -> bytes:
        """The whole content of a file."""
        return self._read(-1)

    def head(self) -> bytes:
        """The first bytes of a file, `HEAD` at most."""
        return self._read(HEAD)


def is_tar(path: Path) -> bool:
    """Whether the file at `path`, decompressed, starts like a tar archive. Raises DataError."""
    with opened(path) as stream:
        return take(stream, _MAGIC.stop)[_MAGIC] == b"ustar"


def members(path: Path) -> Iterator[Member]:
    """The files and folders in the archive at `path`, in its order: a zip, or a tar that may be
    compressed by gzip or xz.

    Links and devices are passed over. Raises DataError, as do the reads of a Member, for an archive
    that is broken, has more than `MOST` members or one of more than `LARGEST` bytes.
    """
    found = _zipped(path) if zipfile.is_zipfile(path) else _tarred(path)
    for number, member in enumerate(found):
        if number == MOST:
            raise DataError(f"{path}: has more than {MOST} members")
        yield member


def _tarred(path: Path) -> Iterator[Member]:
    with opened(path) as stream:
        metered = _Metered(stream, path)
        with _sound(path, partial(tarfile.open, fileobj=metered, mode="r|")) as tar:
            while found := _sound(path, tar.next):
                tar.members = []  # type: ignore[attr-defined]  # or it remembers every one
                _refuse_large(path, found.name, found.size)
                name = found.name.removeprefix("./")
                if found.isreg() or found.isdir():
                    yield Member(name, found.isdir(), partial(_extracted, tar, found, path))
                metered.refill()


def _extracted(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path, size: int) -> bytes:
    file = cast(BinaryIO, tar.extractfile(member))
    return _sound(path, partial(file.read, size))


def _zipped(path: Path) -> Iterator[Member]:
    with _sound(path, partial(zipfile.ZipFile, path), ()) as packed:
        for found in packed.infolist():
            _refuse_large(path, found.filename, found.file_size)
            name = found.filename.replace("\\", "/").removeprefix("./")  # zips made on Windows
            yield Member(name, found.is_dir(), partial(_unzipped, packed, found, path))


def _unzipped(packed: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, size: int) -> bytes:
    if member.flag_bits & _ENCRYPTED:
        raise DataError(f"{path}: {member.filename!r} is encrypted; unpack it to a folder")
    with _sound(path, partial(packed.open, member), ()) as file:
        return _sound(path, partial(file.read, size), ())


def _refuse_large(path: Path, name: str, size: int) -> None:
    if size > LARGEST:
        raise DataError(f"{path}: {name!r} has more than {LARGEST} bytes")


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


def _sound(
    path: Path, call: Callable[[], T], told: tuple[type[Exception], ...] = (OSError, *BROKEN)
) -> T:
    """What `call` returns, with errors as DataError; `told` are converted by the caller instead."""
    try:
        return call()
    # Every exception: tarfile and zipfile do not document what they raise for broken files.
    except Exception as error:
        if isinstance(error, (DataError, *told)):
            raise
        raise DataError(
            f"{path}: broken archive: {textwrap.shorten(str(error), 160)}; fetch the file again"
        ) from error
