"""The names and the locks of the files in a run folder.

    pipeline.toml            the pipeline with all keys resolved
    metrics.jsonl            one line per report or evaluation, flushed as it is written
    summary.json             the outcome
    weights/<layer>.safetensors
    logs/<worker>.log        what a worker printed, if it printed anything
    trace/<stage>.trace      what became of each message; see docs/traces.md
    trace/<layer>.messages   the messages that a layer received, if trace.mode is messages
    control.json             the address of the control socket, while the run goes on

Whole files are written under a temporary name and renamed, so a reader never sees a partial file.
The coordinator holds the lock of metrics.jsonl for as long as the run is recorded.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PIPELINE: Final = "pipeline.toml"
METRICS: Final = "metrics.jsonl"
SUMMARY: Final = "summary.json"
WEIGHTS: Final = "weights"
LOGS: Final = "logs"
TRACE: Final = "trace"
CONTROL: Final = "control.json"
CONTENT: Final = (PIPELINE, METRICS, SUMMARY, CONTROL, WEIGHTS, LOGS, TRACE)
"""Everything that a run leaves in its folder."""


def utf8_file_name(text: str) -> str:
    """Return `text` as a file name that is UTF-8 on the disk in every locale."""
    return os.fsdecode(text.encode("utf-8"))


def try_lock(descriptor: int) -> bool:
    """Lock a file or folder for as long as it is open; False if another process holds the lock.

    On a file system without locks the call succeeds and locks nothing.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def is_recording(folder: Path, unknown: bool = False) -> bool:
    """Whether a process records a run into `folder`, as the lock of its metrics shows.

    `unknown` is returned if the folder has no metrics or the file system has no locks.
    """
    with contextlib.suppress(OSError), (folder / METRICS).open("rb") as metrics:
        try:
            fcntl.flock(metrics, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
    return unknown


def partial_path(path: Path) -> Path:
    """The temporary file that is renamed to `path` when it is complete."""
    return path.with_name(f".{path.name}.part")


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a temporary path, then rename that file to `path`."""
    part = partial_path(path)
    try:
        with error_names(path):
            write(part)
            part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def error_names(path: Path) -> Iterator[None]:
    """Add `path` to an OSError: a failed write does not name the file."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
