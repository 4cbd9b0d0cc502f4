"""Dropout: as often as it says, from numbers of its own, and never in evaluation."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from workers.nn import Floats, Stack, modules

N, WIDTH = 200, 500


def stack_of(*texts: str, seed: int = 0) -> Stack:
    return Stack(modules(texts, (WIDTH,), "k"), np.random.default_rng(seed))


def ones() -> Floats:
    return np.ones((N, WIDTH), "f4")


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.9, 0.25])
def test_the_fraction_is_zero_and_the_rest_keeps_the_mean(fraction: float) -> None:
    y, _ = stack_of(f"dropout {fraction}").forward(ones(), train=True)
    spread = (fraction * (1 - fraction) / y.size) ** 0.5
    assert abs((y == 0).mean() - fraction) <= 5 * spread
    assert_allclose(y[y != 0], 1 / (1 - fraction), rtol=1e-4)
    by_place = (y == 0).mean(axis=0) - fraction
    assert np.abs(by_place).max() <= 5.5 * (fraction * (1 - fraction) / N) ** 0.5


def test_the_gradient_passes_where_the_number_did() -> None:
    stack = stack_of("dropout 0.3")
    y, caches = stack.forward(ones(), train=True)
    assert_array_equal(stack.backward(caches, ones(), need_dx=True), y)


def test_evaluation_is_the_identity_and_draws_nothing() -> None:
    one, other = stack_of("dropout 0.5"), stack_of("dropout 0.5")
    x = np.random.default_rng(1).normal(size=(N, WIDTH)).astype("f4")
    assert_array_equal(one.forward(x, train=False)[0], x)
    assert_array_equal(one.forward(x, True)[0], other.forward(x, True)[0])


def test_every_batch_module_and_seed_has_numbers_of_its_own() -> None:
    stack = stack_of("dropout 0.5", "dropout 0.5")
    (first, _), (second, _) = (stack.forward(ones(), train=True) for _ in range(2))
    alone, _ = stack_of("dropout 0.5").forward(ones(), train=True)
    other, _ = stack_of("dropout 0.5", seed=1).forward(ones(), train=True)
    assert np.mean((first != 0) == (second != 0)) < 0.7
    assert np.mean(first != 0) == pytest.approx(0.25, abs=0.01)
    assert 0.45 < np.mean((alone != 0) == (other != 0)) < 0.55


def test_the_weights_are_what_they_would_be_without_it() -> None:
    without = stack_of("linear 3", "linear 2")
    between = stack_of("dropout 0.5", "linear 3", "dropout 0.1", "linear 2")
    assert_array_equal(between.parameters, without.parameters)
