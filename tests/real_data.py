"""The folder with real data sets, which the environment variable DNI_DATA names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

FOLDER: Final = os.environ.get("DNI_DATA")
"""Read once: fixtures remove the variable, so that other tests do not see the data."""


def real_data(name: str) -> Path:
    """The folder with real data, where `name` is in it. Skips where there is none."""
    if not FOLDER:
        pytest.skip(f"DNI_DATA is not set: it names a folder with {name}")
    if not (Path(FOLDER) / name).exists():
        pytest.skip(f"DNI_DATA: {FOLDER} has no {name}")
    return Path(FOLDER)
