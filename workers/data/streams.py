"""Reads files that may be compressed; every fault of a file is a DataError.

Compressed content is untrusted: a reader holds no more bytes than its caller expects, even if the
stream yields more.
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
"""The errors of a broken stream inside `decompressed`."""


@contextmanager
def open_decompressed(path: Path) -> Iterator[BinaryIO]:
    """The decompressed content of the file at `path`. Opening and reading raise DataError."""
    try:
        with path.open("rb") as file, decompressed(file, str(path)) as stream:
            yield stream
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


@contextmanager
def decompressed(file: BinaryIO, label: str) -> Iterator[BinaryIO]:
    """The decompressed content of an open file; its first bytes identify gzip and xz."""
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
    """The hex digest of the file at `path`, without decompression. Raises DataError."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def read_up_to(stream: BinaryIO, size: int) -> bytearray:
    """`size` bytes, or all there are. Allocates memory for the bytes that are read only."""
    data = bytearray()
    while len(data) < size and (chunk := stream.read(min(_CHUNK, size - len(data)))):
        data += chunk
    return data


def read_verified(stream: BinaryIO, size: int, md5: str, label: str) -> bytes:
    """The whole content, which must have `size` bytes and the checksum `md5` (hex).

    Raises DataError with the found and the expected checksum.
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
        fault = f" up to the point where decompression fails ({error})"
    if fault or digest.hexdigest() != md5:
        found = f"{digest.hexdigest()}{fault}"
        raise DataError(f"{label}: its content has MD5 {found}, expected {md5}")
    return bytes(data)
