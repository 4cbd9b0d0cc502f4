"""Checks that numbers stay within the range of float32."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from protocol import NonFiniteError
from workers.nn import Floats


class FiniteCheck:
    """Raises NonFiniteError for numbers that are not finite, or accepts all if not `enabled`."""

    def __init__(self, enabled: bool) -> None:
        self._enabled = enabled

    def number(self, number: float, what: str) -> float:
        """`number`, if it is finite; `what` is its name in the error."""
        if self._enabled and not math.isfinite(number):
            raise NonFiniteError(f"{what} is not finite")
        return number

    def array(self, array: Floats, what: str) -> None:
        """Require every number of `array` to be finite.

        The sum of squares is one fast pass; it may overflow for finite numbers.
        """
        if not self._enabled:
            return
        square = float(np.vdot(array, array))
        if not math.isfinite(square) and not np.isfinite(array).all():
            raise NonFiniteError(f"{what} is not finite")

    def arrays(self, arrays: Mapping[str, Floats]) -> None:
        """Require every number of all `arrays` to be finite; the error names the array."""
        if not self._enabled:
            return
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise NonFiniteError(f"{name} is not finite")
