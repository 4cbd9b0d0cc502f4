"""A sequence of modules with their parameters in one flat vector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from workers.nn.dense import ConditionedInput
from workers.nn.module import Floats, Module, Shape, Views


class Stack:
    """The function of a layer or of a synthetic model: a sequence of modules.

    `parameters` and `gradients` are flat vectors of the same length; the modules read and write
    views of them. Integer inputs are multiplied by `scale`.
    """

    def __init__(
        self,
        modules: Sequence[Module],
        rng: np.random.Generator,
        *,
        scale: float = 1.0,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self.modules = tuple(modules)
        self.output: Shape = self.modules[-1].output
        self._dtype = np.dtype(dtype)
        self._scale = scale
        initial = [module.initial(rng) for module in self.modules]
        arrays = [array for named in initial for array in named.values()]
        size = sum(array.size for array in arrays)
        self.parameters: Floats = np.empty(size, self._dtype)
        self.gradients: Floats = np.zeros(size, self._dtype)
        self._parameter_views = _views(self.parameters, initial)
        self._gradient_views = _views(self.gradients, initial)
        for views, named in zip(self._parameter_views, initial, strict=True):
            for name, array in named.items():
                views[name][...] = array
        for module in self.modules:
            for name, buffer in module.buffers.items():
                module.buffers[name] = buffer.astype(self._dtype)

    def forward(
        self, x: npt.NDArray[np.generic] | ConditionedInput, train: bool
    ) -> tuple[Floats, list[object]]:
        """Map (n, *input) to (n, *output); also returns the caches for `backward`."""
        y = self.as_floats(x)
        caches: list[object] = []
        for module, p in zip(self.modules, self._parameter_views, strict=True):
            y, cache = module.forward(p, y, train)
            caches.append(cache)
        return y, caches

    def as_floats(self, x: npt.NDArray[np.generic] | ConditionedInput) -> Floats:
        """`x` as the modules take it: floats unchanged, integers scaled."""
        if isinstance(x, ConditionedInput):
            return cast(Floats, x)  # the first module takes it
        if x.dtype.kind == "f":
            return cast(Floats, x.astype(self._dtype, copy=False))
        scaled: Floats = np.multiply(x, self._scale, dtype=self._dtype)
        return scaled

    def backward(self, caches: list[object], dy: Floats, need_dx: bool) -> Floats:
        """Fill `gradients`, summed over the batch, and return the gradient by the input.

        If `need_dx` is False, the result is unspecified.
        """
        for i in reversed(range(len(self.modules))):
            p, g = self._parameter_views[i], self._gradient_views[i]
            dy = self.modules[i].backward(p, g, caches[i], dy, need_dx or i > 0)
        return dy

    def named(self) -> dict[str, Floats]:
        """Parameters and running statistics, named `index.kind.name`; views, not copies."""
        found: dict[str, Floats] = {}
        for i, (module, views) in enumerate(zip(self.modules, self._parameter_views, strict=True)):
            for name, array in {**views, **module.buffers}.items():
                found[f"{i}.{module.kind}.{name}"] = array
        return found


def _views(flat: Floats, initial: Sequence[Views]) -> list[dict[str, Floats]]:
    views: list[dict[str, Floats]] = []
    start = 0
    for named in initial:
        views.append({})
        for name, array in named.items():
            end = start + math.prod(array.shape)
            views[-1][name] = flat[start:end].reshape(array.shape)
            start = end
    return views
