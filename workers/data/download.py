"""Downloads a file from the first mirror that has it, and writes it to the cache.

A download is verified in memory before it is written. So a process that is killed leaves no partial
file, and two processes can download the same file at once.
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
_REASON = 160  # characters; messages of network libraries can be very long


class Progress(Protocol):
    """The progress bar protocol of pooch. A bar is reset and closed once per file."""

    total: int

    def update(self, n: int, /) -> object:
        """Add `n` bytes."""

    def reset(self) -> object:
        """Start from 0 again."""

    def close(self) -> object:
        """End the bar of this file."""


class _Bounded(io.BytesIO):
    """A buffer for at most `limit` bytes of a response."""

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
    """The result of `accept` for the first response that it accepts, of the mirrors in order.

    `accept` raises DataError for a wrong response. A response of more than `limit` bytes is refused
    without a call. Raises DataError with the failure of every mirror.
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
    # Imported here, because the import takes longer than finding MNIST on the disk.
    import pooch

    sink = _Bounded(limit)
    download = pooch.HTTPDownloader(
        progressbar=progress or False, chunk_size=_CHUNK, timeout=_TIMEOUT
    )
    download(url, sink, None)
    return sink.getvalue()


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write the file `path` by a call of `write`, atomically: a reader sees all of it or none.

    Raises DataError if the folder is not writable or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, write)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written: {error.strerror or error}; "
            f"free some space, or set DNI_CACHE to another folder"
        ) from error


def _replace(path: Path, write: Callable[[BinaryIO], object]) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".part-", delete=False) as part:
        try:
            write(cast(BinaryIO, part))
            part.close()
            Path(part.name).replace(path)
        except BaseException:  # KeyboardInterrupt too
            Path(part.name).unlink(missing_ok=True)
            raise
