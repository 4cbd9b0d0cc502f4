"""The bytes of a file that may be compressed, with every way to be broken told as DataError.

What is inside a gzip or xz is its author's claim: the readers here hold no more than the caller
said it should be, however much comes out.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from protocol.errors import DataError

_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
_XZ = b"\xfd7zXZ\0"
STREAM_ERRORS = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError)
"""What reading a broken stream raises inside `decompressed`."""


@contextmanager
def open_decompressed(path: Path) -> Iterator[BinaryIO]:
    """The content of the file at `path`, decompressed; raises DataError, as do its reads."""
    try:
        with path.open("rb") as file, decompressed(file, str(path)) as stream:
            yield stream
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


@contextmanager
def decompressed(file: BinaryIO, label: str) -> Iterator[BinaryIO]:
    """The content of an open file; gzip and xz are known by their first bytes, not by a name."""
    head = file.read(len(_XZ))
    file.seek(0)
    kind = "xz" if head == _XZ else "gzip"
    try:
        if head == _XZ:
            with lzma.LZMAFile(file) as unxz:
                yield cast(BinaryIO, unxz)
        elif head.startswith(_GZIP):
            with gzip.GzipFile(fileobj=file) as unzip:
                yield cast(BinaryIO, unzip)
        else:
            yield file
    except STREAM_ERRORS as error:
        raise DataError(f"{label}: broken {kind}: {error}; fetch the file again") from error


def checksum(path: Path, algorithm: str) -> str:
    """The hex digest of the file at `path` as it lies there. Raises DataError."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def read_up_to(stream: BinaryIO, size: int) -> bytearray:
    """`size` bytes, or all there are: memory grows with what is there, not with `size`."""
    data = bytearray()
    while len(data) < size and (chunk := stream.read(min(_CHUNK, size - len(data)))):
        data += chunk
    return data


def read_verified(stream: BinaryIO, size: int, md5: str, label: str) -> bytes:
    """The whole content, which has `size` bytes and the checksum `md5` (hex).

    Raises DataError with the checksum found and the one expected.
    """
    data = bytearray()
    digest = hashlib.md5(usedforsecurity=False)
    fault = ""
    try:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            if len(data) < size:
                data += chunk
    except STREAM_ERRORS as error:
        fault = f" up to where its compression breaks ({error})"
    if fault or digest.hexdigest() != md5:
        found = f"{digest.hexdigest()}{fault}"
        raise DataError(f"{label}: its content has MD5 {found}, expected {md5}")
    return bytes(data)
