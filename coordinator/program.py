"""How this program is called, for lines that a person can copy."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Final

NAME: Final = "dni"


def program() -> str:
    """What a person types to call this program from the current folder.

    `dni` where a shell finds this installation by that name, else its path, such as
    `.venv/bin/dni`.
    """
    called = Path(sys.argv[0])
    if called.name != NAME or not called.is_file():
        return NAME
    found = shutil.which(NAME)
    if found and Path(found).resolve() == called.resolve():
        return NAME
    relative = os.path.relpath(called)
    return shlex.quote(str(called.absolute()) if relative.startswith("..") else relative)


def next_steps(run: Path) -> str:
    """The commands with which a person goes on from a run that left its weights in `run`."""
    dni, folder = program(), shlex.quote(str(run))
    return f"next: {dni} evaluate {folder} | {dni} trace stats {folder} | {dni} --help"
