"""One time for all machines: that of the coordinator.

A worker on another machine estimates now and then, from a round trip, what time it is at the
coordinator, and how far that may be wrong. Between two estimates the difference is taken to change
evenly; before the first and after the last it stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from coordinator.traces.files import TraceFile
from protocol import trace_format as form

Times: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Clock:
    """How one core's times become the coordinator's. `bound` is how far they may be wrong, ns.

    `local` and `offset` are the moments of the estimates, and what was to be added to the time
    then. Where both clocks are the same all offsets are 0.
    """

    local: Times
    offset: Times
    bound: int

    def __call__(self, times: npt.NDArray[Any]) -> Times:
        """`times` on the coordinator's clock."""
        own = times.astype(np.int64)
        if not self.offset.any():
            return own
        return own + np.interp(own, self.local, self.offset).round().astype(np.int64)


def clock(file: TraceFile) -> Clock:
    """The clock of the core that `file` is the trace of."""
    origin = file.metadata
    local, offset, bound = [[origin.monotonic_ns]], [[origin.offset_ns]], origin.bound_ns
    for block in file.blocks() if bound else ():
        found = block[block["event"] == form.CLOCK]
        local.append(found["time"].astype(np.int64))
        offset.append(found["batch"].astype(np.int64) - local[-1])
        bound = max(bound, int(found["bytes"].max(initial=0)))
    return Clock(np.concatenate(local), np.concatenate(offset), bound)
