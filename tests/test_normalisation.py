"""Normalisation: what it remembers of the batches, and what it makes of each example."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from workers.nn import BatchNorm, Floats, Stack, Standardise


def test_batchnorm_normalises_over_the_batch_and_remembers_an_average() -> None:
    x = np.random.default_rng(8).normal(3, 2, (6, 2, 3))
    stack = Stack([BatchNorm((2, 3))], np.random.default_rng(0), dtype="f8")
    y, _ = stack.forward(x, train=True)
    rows = x.reshape(-1, 3)
    assert_allclose(y.mean(axis=(0, 1)), 0, atol=1e-14)
    assert_allclose(y.reshape(-1, 3), (rows - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5))
    named = stack.named()
    assert_allclose(named["0.batchnorm.running_mean"], 0.1 * rows.mean(0))
    assert_allclose(named["0.batchnorm.running_var"], 0.9 + 0.1 * rows.var(0, ddof=1))


def test_batchnorm_in_evaluation_uses_what_it_remembers_and_changes_nothing() -> None:
    stack = Stack([BatchNorm((3,))], np.random.default_rng(0), dtype="f8")
    stack.parameters[...] = np.random.default_rng(7).normal(size=6)
    named = stack.named()
    named["0.batchnorm.running_mean"][...] = [1, 2, 3]
    named["0.batchnorm.running_var"][...] = [4, 5, 6]
    x = np.random.default_rng(9).normal(size=(4, 3))
    y, _ = stack.forward(x, train=False)
    normal = (x - [1, 2, 3]) / np.sqrt(np.array([4, 5, 6]) + 1e-5)
    assert_allclose(y, normal * named["0.batchnorm.scale"] + named["0.batchnorm.shift"])
    assert_array_equal(stack.forward(x[:1], train=False)[0], y[:1])
    assert_array_equal(named["0.batchnorm.running_mean"], [1, 2, 3])
    assert_array_equal(named["0.batchnorm.running_var"], [4, 5, 6])


def standardised(x: Floats) -> Floats:
    return Stack([Standardise(x.shape[1:])], np.random.default_rng(0)).forward(x, train=True)[0]


@pytest.mark.parametrize("shape", [(7,), (4, 5), (4, 5, 3)])
def test_every_example_is_standardised_by_itself(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(3).normal(5, 3, (6, *shape)).astype("f4")
    rows = standardised(x).reshape(6, -1)
    assert_allclose(rows.mean(axis=1), 0, atol=1e-6)
    assert_allclose(rows.std(axis=1), 1, rtol=1e-6)
    assert_array_equal(standardised(x[2:3]).reshape(1, -1), rows[2:3])


def test_an_image_with_little_contrast_is_divided_by_the_lower_bound() -> None:
    """As tf.image.per_image_standardization: by max(deviation, 1 / sqrt(numbers))."""
    x = np.full((2, 4, 4, 1), 0.5, "f4")
    x[1, 0, 0] += 0.16
    y = standardised(x)
    assert not y[0].any()
    assert_allclose(y[1], (x[1] - x[1].mean()) * 4, rtol=1e-5)
