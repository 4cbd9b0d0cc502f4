"""Optimisers over one flat vector of parameters, and the learning rate's schedule."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

import numpy as np

from workers.nn import Floats

LAST_DROP: Final = 300
"""After more drops than this, the learning rate would underflow; it is 0."""
BLOCK: Final = 1 << 17
"""The most parameters handled at a time: fewer need more calls, more do not fit the caches. Values
from 2^16 to 2^18 are equally fast for 65,792 and 200,960 parameters; smaller ones are slower."""


class Optimizer(Protocol):
    """Turns gradients into updates. `count` is the number of updates so far."""

    count: int

    def step(self, parameters: Floats, gradients: Floats, lr: float, scale: float) -> None:
        """Move `parameters` in place against `scale * gradients`; `gradients` is overwritten."""

    def named(self) -> dict[str, Floats]:
        """The optimiser's vectors by name, in the order of the parameters."""


def _blocks(size: int) -> Iterator[slice]:
    """Slices of `size` parameters in blocks of nearly equal length, so that none is small."""
    count = -(-size // BLOCK)
    for i in range(count):
        yield slice(size * i // count, size * (i + 1) // count)


class Adam:
    """Kingma & Ba 2015 (arXiv 1412.6980), algorithm 1, in the form of its section 2.

    The optimiser keeps the sums Σ βᵗ⁻ⁱ gᵢ and Σ βᵗ⁻ⁱ gᵢ² of the gradients. The factors that turn
    them into the paper's moments, 1 - β and the scale, and the corrections of both moments are
    folded into the learning rate and epsilon, so no vector is multiplied by them.
    """

    beta1: Final = 0.9
    beta2: Final = 0.999
    epsilon: Final = 1e-8
    vectors: Final = 2
    """The vectors of state, each as long as the parameters."""

    def __init__(self, size: int, dtype: np.typing.DTypeLike = np.float32) -> None:
        self.count = 0
        self._sum: Floats = np.zeros(size, dtype)
        self._squares: Floats = np.zeros(size, dtype)
        self._scale = 1.0

    def step(self, parameters: Floats, gradients: Floats, lr: float, scale: float) -> None:
        self.count += 1
        if scale != self._scale:
            self._rescale(scale)
        to_first, to_root = (1 - self.beta1) * scale, math.sqrt(1 - self.beta2) * scale
        correction = math.sqrt(1 - self.beta2**self.count)
        rate = lr * correction / (1 - self.beta1**self.count) * (to_first / to_root)
        epsilon = self.epsilon * correction / to_root
        for block in _blocks(len(parameters)):
            g, m, v = gradients[block], self._sum[block], self._squares[block]
            m *= self.beta1
            m += g
            g *= g
            v *= self.beta2
            v += g
            np.sqrt(v, out=g)
            g += epsilon
            np.divide(m, g, out=g)
            g *= rate
            parameters[block] -= g

    def _rescale(self, scale: float) -> None:
        """Convert both sums as if all gradients so far had had this `scale`."""
        change = self._scale / scale
        self._sum *= change
        self._squares *= change * change
        self._scale = scale

    def named(self) -> dict[str, Floats]:
        first, second = (1 - self.beta1) * self._scale, (1 - self.beta2) * self._scale**2
        return {"first_moment": self._sum * first, "second_moment": self._squares * second}


class Sgd:
    """Stochastic gradient descent with momentum, as in PyTorch: b = μ b + g, p -= lr b."""

    vectors: Final = 1
    """The vectors of state, each as long as the parameters."""

    def __init__(
        self, size: int, momentum: float = 0.0, dtype: np.typing.DTypeLike = np.float32
    ) -> None:
        self.count = 0
        self._momentum = momentum
        self._velocity: Floats = np.zeros(size, dtype)

    def step(self, parameters: Floats, gradients: Floats, lr: float, scale: float) -> None:
        self.count += 1
        for block in _blocks(len(parameters)):
            g, velocity = gradients[block], self._velocity[block]
            velocity *= self._momentum
            g *= scale
            velocity += g
            np.multiply(velocity, lr, out=g)
            parameters[block] -= g

    def named(self) -> dict[str, Floats]:
        return {"velocity": self._velocity}


def learning_rate(lr: float, drops: Sequence[int], step: int) -> float:
    """`lr`, divided by 10 for each of the ascending `drops` that `step` has reached."""
    reached = bisect_right(drops, step)
    return lr / 10.0**reached if reached <= LAST_DROP else 0.0


OPTIMIZER_CLASSES: Final[dict[str, type[Adam] | type[Sgd]]] = {"adam": Adam, "sgd": Sgd}
"""The class of each name in `protocol.config.OPTIMIZERS`."""
