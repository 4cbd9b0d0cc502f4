"""Artifacts: the traces and logs that agents send, part by part, into the folder of the run."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from coordinator.run_folder.layout import LOGS, TRACE, partial_path
from protocol.messages import Upload

FOLDERS: Final = {"trace": TRACE, "messages": TRACE, "log": LOGS}
"""Where a file belongs, by its suffix."""


class ArtifactCollector:
    """Writes parts of files as they arrive, so that memory does not grow with a file.

    `report` takes lines about files that cannot be written. `complete` holds the agents that have
    sent all, `last_part` is the time at which the last valid part arrived.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self.complete: set[str] = set()
        self.last_part = time.monotonic()
        self._report = report
        self._next: dict[Path, int] = {}

    def silent(self, seconds: float) -> bool:
        """Whether no part has arrived for `seconds`."""
        return time.monotonic() - self.last_part >= seconds

    def add(self, folder: Path | None, message: Upload, own: Collection[str]) -> None:
        """Write a part of a file that is named after one of `own`; an empty path ends the list.

        A part of any other file, and one that does not continue its file, is ignored.
        """
        if not message.path:
            self.complete.add(message.name)
            return
        name, _, kind = message.path.partition(".")
        if folder is None or kind not in FOLDERS or name not in own:
            return
        path = folder / FOLDERS[kind] / message.path
        if message.offset != self._next.get(path, 0):
            return
        self.last_part = time.monotonic()
        try:
            self._write(path, message)
        except OSError as error:
            self._discard(path)
            self._report(f"{path}: {error.strerror}; the rest of the file is lost")

    def _write(self, path: Path, message: Upload) -> None:
        data = message.data.tobytes()
        with partial_path(path).open("ab" if message.offset else "wb") as file:
            file.write(data)
        self._next[path] = message.offset + len(data)
        if message.last:
            partial_path(path).replace(path)
            self._next[path] = -1

    def _discard(self, path: Path) -> None:
        self._next[path] = -1
        partial_path(path).unlink(missing_ok=True)

    def close(self) -> None:
        """Discard files that did not arrive completely."""
        for path, size in list(self._next.items()):
            if size >= 0:
                self._discard(path)
