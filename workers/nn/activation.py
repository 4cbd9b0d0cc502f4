"""Elementwise non-linearities. Each caches its output, from which its derivative is computed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import cast

import numpy as np

from workers.nn.module import Floats, Shape, Stateless, Views


class _Elementwise(Stateless, ABC):
    def forward(self, p: Views, x: Floats, train: bool) -> tuple[Floats, object]:  # noqa: ARG002
        y = self.value(x)
        return y, y

    def backward(
        self,
        p: Views,  # noqa: ARG002
        g: Views,  # noqa: ARG002
        cache: object,
        dy: Floats,
        need_dx: bool,  # noqa: ARG002
    ) -> Floats:
        dx = self.derivative(cast(Floats, cache))
        dx *= dy
        return dx

    @abstractmethod
    def value(self, x: Floats) -> Floats:
        """The function itself."""

    @abstractmethod
    def derivative(self, y: Floats) -> Floats:
        """The derivative, as a function of the output `y`; a new array."""


class Relu(_Elementwise):
    """max(x, 0). The full array of zeros is deliberate: faster than a scalar."""

    kind = "relu"

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self._zeros: Floats = np.zeros(0)

    def value(self, x: Floats) -> Floats:
        if self._zeros.shape != x.shape or self._zeros.dtype != x.dtype:
            self._zeros = np.zeros(x.shape, x.dtype)
        return np.maximum(x, self._zeros)

    def derivative(self, y: Floats) -> Floats:
        return (y > 0).astype(y.dtype)


class Tanh(_Elementwise):
    """Hyperbolic tangent."""

    kind = "tanh"

    def value(self, x: Floats) -> Floats:
        return np.tanh(x)

    def derivative(self, y: Floats) -> Floats:
        return 1 - y * y


class Sigmoid(_Elementwise):
    """1 / (1 + e^-x), computed with tanh, which cannot overflow."""

    kind = "sigmoid"

    def value(self, x: Floats) -> Floats:
        y: Floats = np.tanh(x * 0.5)
        y *= 0.5
        y += 0.5
        return y

    def derivative(self, y: Floats) -> Floats:
        return y * (1 - y)
