"""A file from the first of several mirrors that has it, and its way into the cache.

A download is held in memory until it is verified, and only then written: a run that is
killed half way leaves nothing, and two processes that fetch at once do no harm.
"""

from __future__ import annotations

import io
import tempfile
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar, cast

from protocol.errors import DataError

T = TypeVar("T")
_TIMEOUT = (10, 30)  # seconds to connect, seconds between two packets
_CHUNK = 1 << 16
_REASON = 160  # characters; a network library's own account fills a screen


class Progress(Protocol):
    """pooch's protocol of a progress bar; it is reset and closed once a file."""

    total: int

    def update(self, n: int, /) -> object:
        """`n` more bytes have come."""

    def reset(self) -> object:
        """Start from nothing again."""

    def close(self) -> object:
        """This file has ended."""


class _Bounded(io.BytesIO):
    """Memory for at most `limit` bytes of a mirror's answer."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        if self.tell() + len(data) > self._limit:
            raise OSError(f"sends more than {self._limit} bytes")
        return super().write(data)


def fetch(
    file: str,
    mirrors: Sequence[str],
    limit: int,
    accept: Callable[[bytes], T],
    progress: Progress | None,
) -> T:
    """What `accept` makes of `file` as the first mirror sends it whose answer it accepts.

    `accept` raises DataError for an answer that is not the file; of more than `limit` bytes it
    is not even asked. Raises DataError that tells for each mirror why it did not do.
    """
    failures: list[str] = []
    for mirror in mirrors:
        try:
            return accept(_request(f"{mirror.rstrip('/')}/{file}", limit, progress))
        except (DataError, OSError, ValueError) as error:
            failures.append(f"{mirror}: {textwrap.shorten(str(error), _REASON)}")
            if progress is not None:
                progress.reset()
    raise DataError(f"{file} could not be downloaded ({'; '.join(failures)})")


def _request(url: str, limit: int, progress: Progress | None) -> bytes:
    # Not at the top: pooch takes longer to import than MNIST takes to be found on the disk.
    import pooch

    sink = _Bounded(limit)
    download = pooch.HTTPDownloader(
        progressbar=progress or False, chunk_size=_CHUNK, timeout=_TIMEOUT
    )
    download(url, sink, None)
    return sink.getvalue()


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Have `write` fill the file `path`, so that any reader at any time sees all of it or none.

    Raises DataError when the folder cannot be written to or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, write)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written: {error.strerror or error}; "
            f"make room, or name another folder in DNI_CACHE"
        ) from error


def _replace(path: Path, write: Callable[[BinaryIO], object]) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".part-", delete=False) as part:
        try:
            write(cast(BinaryIO, part))
            part.close()
            Path(part.name).replace(path)
        except BaseException:  # Ctrl-C too
            Path(part.name).unlink(missing_ok=True)
            raise
