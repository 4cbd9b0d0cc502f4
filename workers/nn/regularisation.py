"""Dropout (Srivastava et al. 2014)."""

from __future__ import annotations

from typing import Final, cast

import numpy as np
import numpy.typing as npt

from workers.nn.module import Floats, Shape, Stateless, Views

STEPS: Final = 1 << 16
"""The fraction dropped is a whole number of these parts: 16 random bits a number are enough."""


class Dropout(Stateless):
    """Every number is zero with probability `fraction`, else divided by 1 - fraction.

    In evaluation it is the identity. The random numbers are those of a generator of its own, a
    child of the one that the parameters come from, so they are a function of the seed and the
    layer, and the parameters are what they would be without it. Each forward pass in training
    draws once. `fraction` is in [0, 1), rounded to 1/65536.
    """

    word = "dropout"

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
