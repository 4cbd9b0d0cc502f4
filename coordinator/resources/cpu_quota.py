"""The CPU quota of this process's control group, as containers set it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc/self")
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


def quota(proc: Path = PROC) -> float | None:
    """The number of processors whose time this process may use; None without a limit.

    The smallest quota of its control group and of all groups above it counts, in cgroup v1 and v2.
    `proc` is the folder of the process in /proc, see proc(5).
    """
    found: list[float] = []
    for version, mount, group in _groups(proc):
        for folder in (group, *group.parents):
            limit = _v2(folder) if version == 2 else _v1(folder)
            found += [] if limit is None else [limit]
            if folder == mount:
                break
    return min(found, default=None)


def _groups(proc: Path) -> Iterator[tuple[int, Path, Path]]:
    """The version, mount point and group of each mounted hierarchy that can limit CPU time."""
    paths = _paths(proc)
    for line in _lines(proc / "mountinfo"):
        mounted, _, kind = line.partition(" - ")
        fields, types = mounted.split(), kind.split()
        if len(fields) < 5 or len(types) < 3:
            continue
        root, mount = (Path(_ESCAPED.sub(_character, field)) for field in fields[3:5])
        if types[0] == "cgroup2":
            version = 2
        elif types[0] == "cgroup" and "cpu" in types[2].split(","):
            version = 1
        else:
            continue
        if version in paths:
            yield version, mount, _below(mount, root, paths[version])


def _paths(proc: Path) -> dict[int, Path]:
    """The path of this process's group in the hierarchy of each version."""
    found: dict[int, Path] = {}
    for line in _lines(proc / "cgroup"):
        _, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        if colon and not controllers:
            found[2] = Path(path)
        elif "cpu" in controllers.split(","):
            found[1] = Path(path)
    return found


def _below(mount: Path, root: Path, path: Path) -> Path:
    """The folder of the group `path`, if `root` is mounted at `mount`; `mount` if it is outside."""
    if ".." in path.parts or not path.is_relative_to(root):
        return mount
    return mount / path.relative_to(root)


def _v2(folder: Path) -> float | None:
    limits = " ".join(_lines(folder / "cpu.max")).split()
    return _ratio(limits[0], limits[1]) if len(limits) == 2 else None


def _v1(folder: Path) -> float | None:
    numbers = [" ".join(_lines(folder / f"cpu.cfs_{key}_us")) for key in ("quota", "period")]
    return _ratio(numbers[0], numbers[1])


def _ratio(quota: str, period: str) -> float | None:
    """The quota per period; None for 'max', -1 and unreadable values."""
    with contextlib.suppress(ValueError, ZeroDivisionError):
        limit = int(quota) / int(period)
        return limit if limit > 0 else None
    return None


def _lines(file: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return file.read_text("utf-8", "replace").splitlines()
    return []


def _character(escaped: re.Match[str]) -> str:
    return chr(int(escaped[1], 8))
