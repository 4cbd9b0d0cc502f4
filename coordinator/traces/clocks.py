"""Convert the times of all hosts to the coordinator's clock.

A worker on another host estimates now and then, from a round trip, the coordinator's time and the
error of that estimate. Between two estimates the offset is interpolated linearly; before the first
and after the last it is constant.
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
class ClockCorrection:
    """Converts the times of one stage to the coordinator's clock, with an error of `bound` ns.

    `local` and `offset` are the times of the estimates and the offsets to add then. If the stage
    shares the coordinator's clock, all offsets are 0.
    """

    local: Times
    offset: Times
    bound: int

    def __call__(self, times: npt.NDArray[Any]) -> Times:
        """Return `times` on the coordinator's clock."""
        own = times.astype(np.int64)
        if not self.offset.any():
            return own
        return own + np.interp(own, self.local, self.offset).round().astype(np.int64)


def clock_correction(file: TraceFile) -> ClockCorrection:
    """The correction for the stage whose trace `file` is."""
    metadata = file.metadata
    local, offset, bound = [[metadata.monotonic_ns]], [[metadata.offset_ns]], metadata.bound_ns
    for block in file.blocks() if bound else ():
        found = block[block["event"] == form.CLOCK]
        local.append(found["time"].astype(np.int64))
        offset.append(found["batch"].astype(np.int64) - local[-1])
        bound = max(bound, int(found["bytes"].max(initial=0)))
    return ClockCorrection(np.concatenate(local), np.concatenate(offset), bound)
