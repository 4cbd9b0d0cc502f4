"""A worker's standard input: when its other end closes, the coordinator is gone.

Imports nothing that takes long: a worker whose coordinator dies leaves while it imports the rest.
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
"""Where the environment names the folder of the sockets, and on other machines that of the files,
which are removed when the coordinator is gone. They stand there so that a worker knows them before
the first word, which may never come."""
ORPHAN_SECONDS: Final = 0.5


def watch() -> None:
    """See to it, in a thread, that this process ends soon after its standard input closes.

    The main thread sees the same and leaves in an orderly way; this one ends an import or a
    computation that takes too long for that.
    """
    threading.Thread(target=_outlive, daemon=True).start()


def remove_folders() -> None:
    """Remove what the coordinator cannot remove any more."""
    for folder in filter(None, os.environ.get(FOLDERS, "").split(os.pathsep)):
        shutil.rmtree(folder, ignore_errors=True)


def _outlive() -> None:
    poller = select.poll()
    poller.register(sys.stdin.fileno(), 0)  # hang-ups are always told
    poller.poll()
    time.sleep(ORPHAN_SECONDS)
    remove_folders()
    os._exit(1)
