"""Find the folder of a run by a path, by the end of its name, or as the newest run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from coordinator.run_folder.create import RUNS, SET_ASIDE, restore_abandoned
from coordinator.run_folder.layout import PIPELINE, is_recording
from protocol import RunError
from protocol.paths import shortened, user_path

NEWEST: Final = "newest"


def find_run(name: str, key: str = "run") -> Path:
    """The folder of the run `name`: a path, the end of a folder name under runs/, or 'newest'.

    Of several matches the newest is returned; a run that is still recorded takes precedence.
    Raises UserError if there is none; the error names the argument `key`.
    """
    path = user_path(name, key)
    for folder in (path, *(aside.parent for aside in RUNS.glob(f"*/{SET_ASIDE}*"))):
        restore_abandoned(folder)
    if os.path.isfile(path / PIPELINE):  # noqa: PTH113  False for a path that is too long
        return path
    found = _matches(name.rstrip("/"))
    if found:
        return max(found, key=lambda run: (is_recording(run), (run / PIPELINE).stat().st_mtime))
    if os.path.isdir(path):  # noqa: PTH112
        raise RunError(f"{shortened(name)}: holds no run; a run folder has a {PIPELINE}")
    if os.path.exists(path):  # noqa: PTH110
        raise RunError(f"{shortened(name)}: is a file; give the folder of a run")
    raise RunError(
        f"{shortened(name)}: no such folder, and no run under {RUNS}/ has a name that ends so; "
        f"a run folder holds a {PIPELINE}"
    )


def _matches(name: str) -> list[Path]:
    runs = [pipeline.parent for pipeline in RUNS.glob(f"*/{PIPELINE}")]
    ending = [run for run in runs if name and run.name.endswith(name)]
    return ending or (runs if name == NEWEST else [])
