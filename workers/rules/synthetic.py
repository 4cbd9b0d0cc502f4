"""Synthetic models: a layer's predictions of its gradient and of its input.

M(h, c) predicts the gradient of the summed loss by the activation h, from h itself and, where it
is conditioned, from the labels c (arXiv 1608.05343, sections 2.1 and 3.1). Its last module starts
at zero, so the first predictions are zero and do not disturb early training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from workers.nn import (
    BatchNorm,
    Conditioned,
    ConditionedInput,
    Conv,
    Floats,
    Labels,
    Linear,
    Module,
    Relu,
    Shape,
    Stack,
    target_values,
)
from workers.nn.optim import Optimizer

ModelInput: TypeAlias = Floats | ConditionedInput
"""The input of a synthetic model, as its `stack` takes it."""


class Prediction(NamedTuple):
    """The prediction `value`, (n, *shape), for the input `x`, and what a fit needs of it.

    `version` is the number of updates that the model had seen.
    """

    value: Floats
    x: ModelInput
    caches: list[object]
    version: int


def conditioned_shape(shape: Shape, classes: int) -> Shape:
    """The shape of h with c behind it: as planes if h is an image, else in one row."""
    *sides, last = shape if len(shape) == 3 else (math.prod(shape),)
    return (*sides, last + classes)


def model_modules(shape: Shape, classes: int, hidden: Sequence[int], kernel: int) -> list[Module]:
    """The modules of a gradient model, from h and c to the gradient.

    For images, activations of shape (h, w, c), they are convolutions that keep the size, with
    (kernel, kernel) weights; for other shapes they are linear.
    """
    outputs = conditioned_shape(shape, 0)[-1]
    made = _row(conditioned_shape(shape, classes), hidden, outputs, kernel, zero=True)
    if classes and len(shape) != 3:
        made[0] = Conditioned(shape, classes, made[0].output[0], zero=not hidden)
    return made


def input_modules(inputs: Shape, shape: Shape, hidden: Sequence[int]) -> list[Module]:
    """The modules of a synthetic-input model, from the network's input to a layer's."""
    return _row((math.prod(inputs),), hidden, math.prod(shape))


def _row(
    inputs: Shape, hidden: Sequence[int], outputs: int, kernel: int = 0, zero: bool = False
) -> list[Module]:
    """Hidden layers, each followed by batch normalisation and ReLU, and a last layer without."""
    modules: list[Module] = []
    for units in hidden:
        modules.append(_affine(inputs, units, kernel))
        inputs = modules[-1].output
        modules += [BatchNorm(inputs), Relu(inputs)]
    return [*modules, _affine(inputs, outputs, kernel, zero)]


def _affine(shape: Shape, outputs: int, kernel: int, zero: bool = False) -> Module:
    if len(shape) == 3:
        return Conv(shape, outputs, kernel, pad="same", zero=zero)
    return Linear(shape, outputs, zero)


class SyntheticModel:
    """Learns to predict a true value from an input: the common part of both synthetic models."""

    def __init__(self, stack: Stack, shape: Shape, optimizer: Callable[[int], Optimizer]) -> None:
        """`shape` is that of a prediction for one example."""
        self.stack = stack
        self._shape = shape
        self.optimizer = optimizer(len(stack.parameters))

    def apply(self, x: ModelInput) -> Prediction:
        """The prediction for `x`."""
        value, caches = self.stack.forward(x, train=True)
        return Prediction(value.reshape(len(value), *self._shape), x, caches, self.optimizer.count)

    def fit(self, prediction: Prediction, true_value: Floats, lr: float) -> None:
        """One step on half the squared error to `true_value`, the mean over the batch.

        The error is that of the present model: if the model has been updated since the prediction,
        the prediction is computed again. The error of an older model would be a delayed feedback,
        with which the model oscillates at usual rates.
        """
        value, caches = prediction.value, prediction.caches
        if prediction.version != self.optimizer.count:
            value, caches = self.stack.forward(prediction.x, train=True)
        value = value.reshape(len(true_value), *self.stack.output)
        self.stack.backward(caches, value - true_value.reshape(value.shape), need_dx=False)
        scale = 1 / len(true_value)
        self.optimizer.step(self.stack.parameters, self.stack.gradients, lr, scale)

    def metadata(self, prefix: str) -> dict[str, object]:
        """What is saved beside its arrays."""
        return {f"{prefix}_updates": self.optimizer.count}

    def named(self, prefix: str) -> dict[str, Floats]:
        """The arrays of the model and its optimiser, by name; views, not copies."""
        named = {f"{prefix}.{name}": array for name, array in self.stack.named().items()}
        optimizer = self.optimizer.named().items()
        return named | {f"{prefix}.optimizer.{name}": array for name, array in optimizer}


class SyntheticGradient(SyntheticModel):
    """M(h, c): linear, or with hidden layers of (linear, batch-norm, ReLU).

    For images, activations of shape (h, w, c), convolutions replace the linear modules. `classes`
    is the width of the condition c, which is joined to h as one-hot rows or target values, for an
    image as constant planes; 0 for a model that does not see the labels. `optimizer` makes an
    optimiser for a number of parameters.
    """

    def __init__(
        self,
        shape: Shape,
        classes: int,
        hidden: Sequence[int],
        kernel: int,
        rng: np.random.Generator,
        optimizer: Callable[[int], Optimizer],
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self._classes = classes
        modules = model_modules(shape, classes, hidden, kernel)
        super().__init__(Stack(modules, rng, dtype=dtype), shape, optimizer)

    def model_input(self, h: Floats, labels: Labels) -> ModelInput:
        """h and c in the form that the model takes."""
        if not self._classes:
            return h
        if isinstance(self.stack.modules[0], Conditioned):
            return ConditionedInput(h, labels)
        c = target_values(labels, self._classes, h.dtype).reshape(len(h), 1, 1, self._classes)
        planes = np.broadcast_to(c, (*h.shape[:-1], self._classes))
        return np.concatenate((h, planes), axis=-1)

    def predict(self, h: Floats, labels: Labels) -> Prediction:
        """The synthetic gradient for the activation `h`, (n, *features)."""
        return self.apply(self.model_input(h, labels))


class SyntheticInput(SyntheticModel):
    """I(x): predicts a layer's input from the network's input x.

    Integer inputs are multiplied by `scale`; `shape` is that of the layer's input.
    """

    def __init__(
        self,
        inputs: Shape,
        shape: Shape,
        hidden: Sequence[int],
        rng: np.random.Generator,
        optimizer: Callable[[int], Optimizer],
        scale: float,
    ) -> None:
        modules = input_modules(inputs, shape, hidden)
        super().__init__(Stack(modules, rng, scale=scale), shape, optimizer)

    def predict(self, x: npt.NDArray[np.generic]) -> Prediction:
        """The synthetic input, (n, *shape), for the network's input `x`, which is not kept."""
        floats = self.stack.as_floats(x.reshape(len(x), -1))
        return self.apply(floats.copy() if np.may_share_memory(floats, x) else floats)
