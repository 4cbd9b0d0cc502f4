"""A worker's standard input: when its other end closes, the coordinator is gone.

This module imports nothing slow, so that a worker whose coordinator dies exits even while it
imports the rest.
"""

from __future__ import annotations

import os
import select
import shutil
import sys
import threading
import time
from typing import Final

FOLDERS: Final = "DNI_FOLDER"
"""The environment variable with the folders that are removed when the coordinator is gone: that of
the sockets and, on other hosts, that of the files. A worker needs them before its configuration,
which may never come."""
ORPHAN_SECONDS: Final = 0.5


def exit_when_closed() -> None:
    """Start a thread that ends this process soon after its standard input closes.

    The main thread notices the same and exits in order; this thread ends an import or a
    computation that takes too long.
    """
    threading.Thread(target=_end_after_close, daemon=True).start()


def remove_folders() -> None:
    """Remove the folders that the coordinator can no longer remove."""
    for folder in filter(None, os.environ.get(FOLDERS, "").split(os.pathsep)):
        shutil.rmtree(folder, ignore_errors=True)


def _end_after_close() -> None:
    poller = select.poll()
    poller.register(sys.stdin.fileno(), 0)  # a hang-up is always reported
    poller.poll()
    time.sleep(ORPHAN_SECONDS)
    remove_folders()
    os._exit(1)
