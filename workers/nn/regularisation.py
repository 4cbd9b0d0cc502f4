"""Dropout (Srivastava et al. 2014)."""

from __future__ import annotations

from typing import Final, cast

import numpy as np
import numpy.typing as npt

from workers.nn.module import Floats, Shape, Stateless, Views

STEPS: Final = 1 << 16
"""The resolution of the dropped fraction: 16 random bits per number are enough."""


class Dropout(Stateless):
    """Sets every number to zero with probability `fraction`, and else divides it by 1 - fraction.

    In evaluation it is the identity. The random numbers come from a generator of its own, a child
    of the one for the parameters, so they depend on the seed and the layer alone, and the
    parameters are the same as without dropout. Each forward pass in training draws once. `fraction`
    is in [0, 1), rounded to 1/65536.
    """

    kind = "dropout"

    def __init__(self, shape: Shape, fraction: float) -> None:
        super().__init__(shape)
        self._dropped = min(round(fraction * STEPS), STEPS - 1)
        self._rng = np.random.default_rng(0)

    def initial(self, rng: np.random.Generator) -> dict[str, Floats]:
        (self._rng,) = rng.spawn(1)
        return {}

    def forward(self, p: Views, x: Floats, train: bool) -> tuple[Floats, object]:  # noqa: ARG002
        if not train:
            return x, None
        kept = self._rng.integers(0, STEPS, x.shape, np.uint16) >= self._dropped
        return self._thinned(x, kept), kept

    def backward(
        self,
        p: Views,  # noqa: ARG002
        g: Views,  # noqa: ARG002
        cache: object,
        dy: Floats,
        need_dx: bool,  # noqa: ARG002
    ) -> Floats:
        return self._thinned(dy, cast(npt.NDArray[np.bool_], cache))

    def _thinned(self, x: Floats, kept: npt.NDArray[np.bool_]) -> Floats:
        y: Floats = x * kept
        y *= STEPS / (STEPS - self._dropped)
        return y
