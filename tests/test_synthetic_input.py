"""Synthetic-input models: right gradients, targets that are learned, no memory kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.test_synthetic import RecordingOptimizer, plain_sgd
from workers.nn import Floats, Shape, Stack
from workers.nn.optim import Adam, Sgd
from workers.rules.synthetic import SyntheticInput, input_modules

N = 8
INPUTS: Shape = (3, 2)
OUTPUT: Shape = (4,)


def model_of(
    hidden: Sequence[int],
    optimizer: Callable[[int], Adam | Sgd | RecordingOptimizer] = Adam,
    shape: Shape = OUTPUT,
    scale: float = 1.0,
) -> SyntheticInput:
    return SyntheticInput(INPUTS, shape, hidden, np.random.default_rng(0), optimizer, scale)


def normal(*shape: int, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("hidden", [(), (7,), (7, 5)])
def test_a_fit_follows_the_gradient_of_half_the_squared_error(
    hidden: Sequence[int], difference: Callable[[Callable[[], float], Floats], Floats]
) -> None:
    model = model_of(hidden, RecordingOptimizer)
    model.stack = Stack(input_modules(INPUTS, OUTPUT, hidden), np.random.default_rng(0), dtype="f8")
    x, target = normal(N, *INPUTS).astype("f8"), normal(N, *OUTPUT, seed=2).astype("f8")

    def loss() -> float:
        return float(np.sum((model.predict(x).value - target) ** 2) / 2 / N)

    gradient = difference(loss, model.stack.parameters)
    model.fit(model.predict(x), target, lr=1.0)
    assert isinstance(model.optimizer, RecordingOptimizer)
    assert_allclose(model.optimizer.seen, gradient, rtol=1e-5, atol=1e-8)


def test_a_linear_map_is_learned() -> None:
    model = model_of((), lambda size: Sgd(size, 0.9))
    weights = normal(6, 4, seed=3)
    rng = np.random.default_rng(4)
    for _ in range(500):
        x = rng.standard_normal((N, *INPUTS)).astype(np.float32)
        model.fit(model.predict(x), x.reshape(N, 6) @ weights, lr=0.05)
    x = normal(N, *INPUTS, seed=5)
    assert_allclose(model.predict(x).value, x.reshape(N, 6) @ weights, atol=1e-3)


def test_a_hidden_layer_learns_what_no_linear_model_can() -> None:
    errors = {}
    for hidden in ((), (32,)):
        model = model_of(hidden, shape=(1,))
        rng = np.random.default_rng(6)
        found = []
        for _ in range(1500):
            x = rng.standard_normal((64, *INPUTS)).astype(np.float32)
            target = np.abs(x[:, :1, 0])
            prediction = model.predict(x)
            found.append(float(np.mean((prediction.value - target) ** 2)))
            model.fit(prediction, target, lr=0.01)
        errors[hidden] = float(np.mean(found[-100:]))
    assert errors[(32,)] < errors[()] / 10


def test_the_prediction_of_an_image_has_its_shape() -> None:
    prediction = model_of((5,), shape=(4, 4, 3)).predict(normal(N, *INPUTS))
    assert prediction.value.shape == (N, 4, 4, 3)


def test_integer_pixels_are_scaled() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (N, *INPUTS), np.uint8)
    scaled = (pixels / 255).astype(np.float32)
    ours, expected = model_of((), scale=1 / 255).predict(pixels), model_of(()).predict(scaled)
    assert_allclose(ours.value, expected.value, rtol=1e-4)


@pytest.mark.parametrize("hidden", [(), (7,)])
@pytest.mark.parametrize("dtype", ["f4", "u1"])
def test_the_memory_of_the_message_is_not_kept(hidden: Sequence[int], dtype: str) -> None:
    learned = []
    for spoil in (False, True):
        model = model_of(hidden, plain_sgd)
        x = np.random.default_rng(0).integers(0, 9, (N, *INPUTS)).astype(dtype)
        prediction = model.predict(x)
        if spoil:
            x.fill(99)
        model.fit(prediction, normal(N, *OUTPUT, seed=2), lr=0.1)
        learned.append(model.stack.parameters.copy())
    assert_array_equal(learned[0], learned[1])
