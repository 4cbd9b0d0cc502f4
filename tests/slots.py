"""Memory that is used again, as the shared memory of the transport."""

from __future__ import annotations

from typing import Any

import numpy as np


class Slots:
    """A ring of `window` arrays: the array in a slot is overwritten `window` arrays later.

    What a reader still holds of it then is nonsense, so whatever is computed from it differs.
    """

    def __init__(self, window: int) -> None:
        self._arrays: list[np.ndarray[Any, Any] | None] = [None] * window
        self._count = 0

    def write(self, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """A read-only view of `array` in the next slot."""
        slot, self._count = self._count % len(self._arrays), self._count + 1
        before = self._arrays[slot]
        if before is not None:
            before.fill(1e6)
        copied = self._arrays[slot] = array.copy()
        view = copied.view()
        view.flags.writeable = False
        return view
