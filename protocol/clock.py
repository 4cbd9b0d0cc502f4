"""What time it is on another machine, from round trips (Cristian, 1989)."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Final, NamedTuple

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


def clock_name() -> str:
    """The name of this machine's monotonic clock: who gives the same name has the same time."""
    try:
        return _BOOT.read_text("ascii").strip()
    except OSError:
        return platform.node()


class Estimate(NamedTuple):
    """When it was `here` on our clock it was `there` on the other, give or take `bound`; in ns."""

    here: int
    there: int
    bound: int


def estimate(asked: int, there: int, answered: int) -> Estimate:
    """From one round trip: they read their clock at some moment between our two."""
    return Estimate((asked + answered) // 2, there, (answered - asked + 1) // 2)
