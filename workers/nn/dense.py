"""Fully connected modules, and the flattening before them."""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import numpy as np

from workers.nn.loss import Labels, target_values
from workers.nn.module import Floats, Shape, Stateless, Views


class Linear:
    """y = x W + b, with W of shape (inputs, outputs). Inputs of any shape are flattened.

    Both are initially uniform in ±1/√inputs, as in PyTorch, or zero.
    """

    kind = "linear"

    def __init__(self, shape: Shape, outputs: int, zero: bool = False) -> None:
        self.inputs = math.prod(shape)
        self.output: Shape = (outputs,)
        self.buffers: dict[str, Floats] = {}
        self.parameters: dict[str, Shape] = {"weight": (self.inputs, outputs), "bias": (outputs,)}
        self._zero = zero

    def initial(self, rng: np.random.Generator) -> dict[str, Floats]:
        if self._zero:
            return {name: np.zeros(shape) for name, shape in self.parameters.items()}
        bound = 1 / math.sqrt(self.inputs)
        return {n: rng.uniform(-bound, bound, shape) for n, shape in self.parameters.items()}

    def forward(self, p: Views, x: Floats, train: bool) -> tuple[Floats, object]:  # noqa: ARG002
        y = x.reshape(len(x), self.inputs) @ p["weight"]
        y += p["bias"]
        return y, x

    def backward(self, p: Views, g: Views, cache: object, dy: Floats, need_dx: bool) -> Floats:
        x = cast(Floats, cache)
        np.matmul(x.reshape(len(x), self.inputs).T, dy, out=g["weight"])
        np.add.reduce(dy, axis=0, out=g["bias"])
        return (dy @ p["weight"].T).reshape(x.shape) if need_dx else dy


class ConditionedInput(NamedTuple):
    """Activations h, (n, …), and their labels c: (n,) class numbers or (n, k) target values."""

    h: Floats
    c: Labels


class Conditioned(Linear):
    """y = h W + c V + b for a `ConditionedInput`; class numbers c stand for one-hot rows.

    Equal to `Linear` of the concatenation of h and c, with W above V in `weight`, but without that
    concatenation: it would copy h, and an example with a class number needs only one row of V.
    """

    def __init__(self, shape: Shape, classes: int, outputs: int, zero: bool = False) -> None:
        super().__init__((math.prod(shape) + classes,), outputs, zero)
        self._features, self._classes = math.prod(shape), classes

    def forward(self, p: Views, x: Floats, train: bool) -> tuple[Floats, object]:  # noqa: ARG002
        h, c = cast(ConditionedInput, x)
        w, v = self._parts(p["weight"])
        y = h.reshape(len(h), self._features) @ w
        if c.ndim == 1:
            y += (v + p["bias"])[c.astype(np.intp, copy=False)]
        else:
            y += target_values(c, self._classes, y.dtype) @ v
            y += p["bias"]
        return y, x

    def backward(self, p: Views, g: Views, cache: object, dy: Floats, need_dx: bool) -> Floats:
        h, c = cast(ConditionedInput, cache)
        w, v = self._parts(g["weight"])
        np.matmul(h.reshape(len(h), self._features).T, dy, out=w)
        np.matmul(target_values(c, self._classes, dy.dtype).T, dy, out=v)
        np.add.reduce(v if c.ndim == 1 else dy, axis=0, out=g["bias"])
        return (dy @ self._parts(p["weight"])[0].T).reshape(h.shape) if need_dx else dy

    def _parts(self, weight: Floats) -> tuple[Floats, Floats]:
        return weight[: self._features], weight[self._features :]


class Flatten(Stateless):
    """Maps (n, …) to (n, features)."""

    kind = "flatten"

    def __init__(self, shape: Shape) -> None:
        super().__init__((math.prod(shape),))

    def forward(self, p: Views, x: Floats, train: bool) -> tuple[Floats, object]:  # noqa: ARG002
        return x.reshape(len(x), *self.output), x.shape

    def backward(
        self,
        p: Views,  # noqa: ARG002
        g: Views,  # noqa: ARG002
        cache: object,
        dy: Floats,
        need_dx: bool,  # noqa: ARG002
    ) -> Floats:
        return dy.reshape(cast(Shape, cache))
