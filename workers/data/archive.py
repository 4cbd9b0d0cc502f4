"""Reads the members of a tar or zip archive one by one, without writing to the disk.

Names and sizes in an archive are untrusted. Names are compared and never used as paths, and at most
one member of bounded size is in memory, even if the archive decompresses to much more.
"""

from __future__ import annotations

import os
import stat
import tarfile
import textwrap
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import BinaryIO, Final, TypeVar, cast

from protocol.errors import DataError
from workers.data.streams import STREAM_ERRORS, open_decompressed, read_up_to

T = TypeVar("T")
MAX_MEMBER_BYTES: Final = 1 << 26
"""The largest size of a member in bytes."""
MAX_MEMBERS: Final = 1 << 21
"""The largest number of members."""
HEAD_BYTES: Final = 16
"""The number of first bytes that identify the format of a member."""
_SLACK: Final = 1 << 20  # bytes of headers and padding around a member
_ENCRYPTED: Final = 1  # a flag of a zip member
_MAGIC: Final = slice(257, 262)
_LONGEST_PATH: Final = 4096
_BROKEN_LINK: Final = (
    "is a link to a file that is not in the archive",
    "pack the archive again with the files themselves, as tar --dereference does",
)


class UnreadableError(Exception):
    """A file cannot be used as an image. The caller collects these errors and raises one DataError.

    The text continues a sentence that begins with the name of the file. `remedy` is the remedy, in
    which "it" or "them" replaces `{}`.
    """

    def __init__(self, reason: str, remedy: str = "repair or remove {}") -> None:
        super().__init__(reason)
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Member:
    """A file or folder of an archive. Its content can be read once, before the next member.

    `target` is the path in the archive that a link points to, else None. Reading raises
    UnreadableError, or DataError if the whole archive is broken.
    """

    name: str
    folder: bool
    _read: Callable[[int], bytes]
    target: str | None = None

    def read(self) -> bytes:
        """The whole content of a file."""
        return self._read(-1)

    def head(self) -> bytes:
        """The first bytes of a file, at most `HEAD_BYTES`."""
        return self._read(HEAD_BYTES)


def is_tar(path: Path) -> bool:
    """Whether the decompressed file at `path` begins as a tar archive. Raises DataError."""
    with open_decompressed(path) as stream:
        return read_up_to(stream, _MAGIC.stop)[_MAGIC] == b"ustar"


def archive_members(path: Path) -> Iterator[Member]:
    """The files and folders in a zip, or in a tar that may be compressed by gzip or xz.

    Links come last, with the content of the files in the archive that they point to. Reading a link
    to any other file, or a device, raises UnreadableError. Raises DataError, as do reads of a
    Member, if the archive is broken, has more than `MAX_MEMBERS` members, or has a member of more
    than `MAX_MEMBER_BYTES`.
    """
    walk = _zipped if zipfile.is_zipfile(path) else _tarred
    yield from _counted(path, _followed(partial(walk, path), path))


def _counted(path: Path, found: Iterable[T]) -> Iterator[T]:
    for number, member in enumerate(found):
        if number == MAX_MEMBERS:
            raise DataError(f"{path}: has more than {MAX_MEMBERS} members")
        yield member


def _followed(walk: Callable[[], Iterator[Member]], path: Path) -> Iterator[Member]:
    """The members of one walk through the archive, then, in a second walk, its links."""
    links: dict[str, str] = {}
    for member in _counted(path, walk()):
        if member.target is None:
            yield member
        else:
            links[normpath(member.name)] = member.target
    if not links:
        return
    names = _by_end(links)
    broken = {*names}
    for member in walk():
        if member.target is None and not member.folder:
            reached = _leading_to(normpath(member.name), names)
            broken -= reached.keys()
            yield from _copies(member, [name for found in reached.values() for name in found])
    for end in sorted(broken):
        for name in names[end]:
            if not name.startswith(f"{end}/"):  # a link to a folder around the link
                yield Member(name, False, partial(_unreadable, *_BROKEN_LINK))


def _by_end(links: Mapping[str, str]) -> dict[str, list[str]]:
    """The names of `links` by their final targets, including names in folders that are linked."""
    names: dict[str, list[str]] = {}
    for name in links:
        names.setdefault(_end(name, links), []).append(name)
    for name in links:
        if (end := _end(name, links)) not in links:  # else the links form a cycle
            names[end] += [other for more in _leading_to(name, names).values() for other in more]
    return names


def _end(name: str, links: Mapping[str, str]) -> str:
    """The final target of the link `name`. The links of a cycle lead to one link of it."""
    seen = {name}
    while (name := links[name]) in links and name not in seen:
        seen.add(name)
    return name


def _leading_to(file: str, names: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """The names that links give to the path `file`, by target; `names` are links by target."""
    reached = {file: names[file]} if file in names else {}
    for folder in map(str, PurePosixPath(file).parents):
        outside = [name for name in names.get(folder, ()) if not name.startswith(f"{folder}/")]
        if outside and folder != ".":
            reached[folder] = [f"{name}{file.removeprefix(folder)}" for name in outside]
    return reached


def _copies(member: Member, names: list[str]) -> Iterator[Member]:
    content = member.read() if names else b""
    for name in names:
        yield Member(name, False, lambda size: content if size < 0 else content[:size])


def _unreadable(reason: str, remedy: str, _: int) -> bytes:
    raise UnreadableError(reason, remedy)


def _tarred(path: Path) -> Iterator[Member]:
    with open_decompressed(path) as stream:
        metered = _BoundedStream(stream, path)
        with _convert_errors(path, partial(tarfile.open, fileobj=metered, mode="r|")) as tar:
            while found := _convert_errors(path, tar.next):
                tar.members = []  # type: ignore[attr-defined]  # else it keeps every member
                _refuse_large(path, found.name, found.size)
                yield _of_tar(tar, found, path)
                metered.refill()


def _of_tar(tar: tarfile.TarFile, found: tarfile.TarInfo, path: Path) -> Member:
    name = found.name.removeprefix("./")
    if found.isreg() or found.isdir():
        return Member(name, found.isdir(), partial(_extracted, tar, found, path))
    target = None
    if found.islnk():
        target = normpath(found.linkname)
    elif found.issym():
        target = _linked(name, found.linkname)
    return Member(name, False, partial(_unreadable, "is not a file", "remove {}"), target)


def _linked(name: str, target: str) -> str:
    """The path in the archive of the `target` of the symbolic link `name`."""
    return normpath(f"{PurePosixPath(name).parent}/{target}" if target[:1] != "/" else target)


def _extracted(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path, size: int) -> bytes:
    file = cast(BinaryIO, tar.extractfile(member))
    return _convert_errors(path, partial(file.read, size))


def _zipped(path: Path) -> Iterator[Member]:
    with _convert_errors(path, partial(zipfile.ZipFile, path), ()) as packed:
        for found in packed.infolist():
            _refuse_large(path, found.filename, found.file_size)
            name = found.filename.replace("\\", "/").removeprefix("./")  # zips made on Windows
            target = None
            if stat.S_ISLNK(found.external_attr >> 16):
                target = _linked(name, os.fsdecode(_unzipped(packed, found, path, _LONGEST_PATH)))
            yield Member(name, found.is_dir(), partial(_unzipped, packed, found, path), target)


def _unzipped(packed: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, size: int) -> bytes:
    if member.flag_bits & _ENCRYPTED:
        raise DataError(f"{path}: {member.filename!r} is encrypted; unpack it to a folder")
    with _convert_errors(path, partial(packed.open, member), ()) as file:
        return _convert_errors(path, partial(file.read, size), ())


def _refuse_large(path: Path, name: str, size: int) -> None:
    if size > MAX_MEMBER_BYTES:
        raise DataError(f"{path}: {name!r} has more than {MAX_MEMBER_BYTES} bytes")


class _BoundedStream:
    """A stream that yields at most the bytes of one member until `refill` is called."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self._stream, self._path = stream, path
        self.refill()

    def refill(self) -> None:
        """Allow the bytes of one more member."""
        self._left = MAX_MEMBER_BYTES + _SLACK

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise DataError(f"{self._path}: a header states more than {MAX_MEMBER_BYTES} bytes")
        return data


def _convert_errors(
    path: Path, call: Callable[[], T], kept: tuple[type[Exception], ...] = (OSError, *STREAM_ERRORS)
) -> T:
    """The result of `call`. Errors become DataError, except `kept`, which the caller converts."""
    try:
        return call()
    # Every exception: the errors of tarfile and zipfile for broken files are not documented.
    except Exception as error:
        if isinstance(error, (DataError, *kept)):
            raise
        raise DataError(
            f"{path}: broken archive: {textwrap.shorten(str(error), 160)}; fetch the file again"
        ) from error
