"""Normalisation over the batch (Ioffe & Szegedy 2015, arXiv 1502.03167) and of each example."""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import numpy as np

from workers.nn.module import Floats, Shape, Stateless, Views

EPSILON = 1e-5
MOMENTUM = 0.1


class _Cache(NamedTuple):
    centred: Floats
    inverse_std: Floats


class BatchNorm:
    """Normalises every channel (the last axis) over the batch, then scales and shifts it.

    In evaluation, running statistics replace those of the batch: exponential averages with weight
    0.1 for the newest batch, with the unbiased variance, as in PyTorch.
    """

    kind = "batchnorm"

    def __init__(self, shape: Shape) -> None:
        self.output = shape
        self._channels = shape[-1]
        # broadcast views: `dni check` makes no arrays, however wide; the stack copies them
        self.buffers: dict[str, Floats] = {
            "running_mean": np.broadcast_to(np.float64(0), self._channels),
            "running_var": np.broadcast_to(np.float64(1), self._channels),
        }
        self.parameters: dict[str, Shape] = {"scale": shape[-1:], "shift": shape[-1:]}

    def initial(self, rng: np.random.Generator) -> dict[str, Floats]:  # noqa: ARG002
        return {"scale": np.ones(self._channels), "shift": np.zeros(self._channels)}

    def forward(self, p: Views, x: Floats, train: bool) -> tuple[Floats, object]:
        rows = x.reshape(-1, self._channels)
        if not train:
            factor = p["scale"] / np.sqrt(self.buffers["running_var"] + EPSILON)
            y = (rows - self.buffers["running_mean"]) * factor
            y += p["shift"]
            return y.reshape(x.shape), None
        n = len(rows)
        mean = np.add.reduce(rows, axis=0) / n
        centred = rows - mean
        variance = np.einsum("ij,ij->j", centred, centred) / n
        self._remember(mean, variance * (n / max(n - 1, 1)))
        inverse_std = 1 / np.sqrt(variance + EPSILON)
        y = centred * (p["scale"] * inverse_std)
        y += p["shift"]
        return y.reshape(x.shape), _Cache(centred, inverse_std)

    def _remember(self, mean: Floats, variance: Floats) -> None:
        for name, value in (("running_mean", mean), ("running_var", variance)):
            running = self.buffers[name]
            running += MOMENTUM * (value - running)

    def backward(
        self,
        p: Views,
        g: Views,
        cache: object,
        dy: Floats,
        need_dx: bool,  # noqa: ARG002
    ) -> Floats:
        centred, inverse_std = cast(_Cache, cache)
        rows = dy.reshape(-1, self._channels)
        n = len(rows)
        np.add.reduce(rows, axis=0, out=g["shift"])
        np.multiply(np.einsum("ij,ij->j", rows, centred), inverse_std, out=g["scale"])
        dx = centred * (g["scale"] * inverse_std / n)
        np.subtract(rows, dx, out=dx)
        dx -= g["shift"] / n
        dx *= p["scale"] * inverse_std
        return dx.reshape(dy.shape)


class _Standard(NamedTuple):
    y: Floats
    divisor: Floats


class Standardise(Stateless):
    """Normalises every example to mean 0 and variance 1 over all its n numbers.

    The standard deviation is taken as 1/√n at least, so that a uniform image becomes zero, as in
    TensorFlow's tf.image.per_image_standardization.
    """

    kind = "standardise"

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self._least = 1 / math.sqrt(math.prod(shape))

    def forward(self, p: Views, x: Floats, train: bool) -> tuple[Floats, object]:  # noqa: ARG002
        rows = x.reshape(len(x), -1)
        y: Floats = rows - rows.mean(axis=1, keepdims=True)
        deviation = np.sqrt(np.einsum("ij,ij->i", y, y) / y.shape[1])[:, None]
        divisor = np.maximum(deviation, self._least)
        y /= divisor
        return y.reshape(x.shape), _Standard(y, divisor)

    def backward(
        self,
        p: Views,  # noqa: ARG002
        g: Views,  # noqa: ARG002
        cache: object,
        dy: Floats,
        need_dx: bool,
    ) -> Floats:
        if not need_dx:
            return dy
        y, divisor = cast(_Standard, cache)
        rows = dy.reshape(y.shape)
        dx: Floats = rows - rows.mean(axis=1, keepdims=True)
        along = np.einsum("ij,ij->i", rows, y)[:, None] / y.shape[1]
        dx -= y * np.where(divisor > self._least, along, 0)
        dx /= divisor
        return dx.reshape(dy.shape)
