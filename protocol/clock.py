"""The time on another host, from round trips (Cristian, 1989)."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Final, NamedTuple

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def clock_name() -> str:
    """The name of this host's monotonic clock. Processes with equal names share the clock."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return platform.node()


class ClockSample(NamedTuple):
    """The remote clock read `there` when ours read `here`, within `bound`; all in nanoseconds."""

    here: int
    there: int
    bound: int


def clock_sample(sent: int, there: int, received: int) -> ClockSample:
    """The sample of one round trip: the remote clock was read between `sent` and `received`."""
    return ClockSample((sent + received) // 2, there, (received - sent + 1) // 2)
