"""What agents bring home: files, part by part, into the folder of the run."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from coordinator.run_folder.layout import LOGS, TRACE, partial_path
from protocol.messages import Upload

PLACES: Final = {"trace": TRACE, "messages": TRACE, "log": LOGS}


class Uploads:
    """Parts are written as they come, so nothing large is held; `tell` hears of what cannot be.

    `done` are the agents that have brought home all, `at` is when the last wanted part came.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.done: set[str] = set()
        self.at = time.monotonic()
        self._tell = tell
        self._next: dict[Path, int] = {}

    def take(self, folder: Path | None, message: Upload, own: Collection[str]) -> None:
        """A part of a file named after one of `own`; an empty name says that there are no more."""
        if not message.path:
            self.done.add(message.name)
            return
        name, _, kind = message.path.partition(".")
        if folder is None or kind not in PLACES or name not in own:
            return
        place = folder / PLACES[kind] / message.path
        if message.offset != self._next.get(place, 0):
            return
        self.at = time.monotonic()
        try:
            self._write(place, message)
        except OSError as error:
            self._give_up(place)
            self._tell(f"{place}: {error.strerror}; the rest of it is lost")

    def _write(self, place: Path, message: Upload) -> None:
        data = message.data.tobytes()
        with partial_path(place).open("ab" if message.offset else "wb") as file:
            file.write(data)
        self._next[place] = message.offset + len(data)
        if message.last:
            partial_path(place).replace(place)
            self._next[place] = -1

    def _give_up(self, place: Path) -> None:
        self._next[place] = -1
        partial_path(place).unlink(missing_ok=True)

    def close(self) -> None:
        """What did not come whole is not kept."""
        for place, size in list(self._next.items()):
            if size >= 0:
                self._give_up(place)
