"""Where data sets with a name lie: the user's folder, and the cache."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def given(name: str) -> tuple[Path, ...]:
    """The user's folders for the data set `name`, best first: $DNI_DATA/name and $DNI_DATA."""
    root = os.environ.get("DNI_DATA")
    return (Path(root) / name, Path(root)) if root else ()


def cache(name: str) -> Path:
    """The folder that keeps what belongs to `name`: in $DNI_CACHE or in the user's cache."""
    return Path(os.environ.get("DNI_CACHE") or platformdirs.user_cache_path("dni")) / name
