"""A loss returns its sum and the gradient of it, counts errors, and handles outputs of any size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_allclose

from protocol import config
from workers.nn import LOSSES, Floats, Labels

JUDGED = [(name, kind) for name in LOSSES for kind in ("classes", "values")]
JUDGED.remove(("cross-entropy", "values"))
N, K = 5, 3


def answers(kind: str, n: int = N, k: int = K) -> Labels:
    rng = np.random.default_rng(4)
    return rng.integers(0, k, n) if kind != "values" else rng.uniform(0, 1, (n, k))


@pytest.mark.parametrize(("name", "kind"), JUDGED)
def test_a_loss_returns_the_gradient_of_its_sum_over_the_batch(
    name: str, kind: str, difference: Callable[[Callable[[], float], Floats], Floats]
) -> None:
    outputs, labels = np.random.default_rng(7).normal(size=(N, K)), answers(kind)
    result = LOSSES[name](outputs, labels)
    gradient = difference(lambda: LOSSES[name](outputs, labels).loss, outputs)
    assert_allclose(result.gradient, gradient, rtol=1e-7, atol=1e-8)
    parts = [LOSSES[name](outputs[i : i + 1], labels[i : i + 1]) for i in range(N)]
    assert result.loss == pytest.approx(sum(part.loss for part in parts), rel=1e-12)
    assert result.errors == sum(part.errors for part in parts)


def test_every_loss_of_the_configuration_exists() -> None:
    assert set(LOSSES) == set(config.LOSSES)


@pytest.mark.parametrize(("name", "kind"), JUDGED)
def test_a_loss_is_finite_for_outputs_of_any_size(name: str, kind: str) -> None:
    outputs = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]], np.float32)
    result = LOSSES[name](outputs, answers(kind, 2))
    assert np.isfinite(result.loss)
    assert np.isfinite(result.gradient).all()


def test_errors_are_counted_by_example_for_classes_and_by_output_for_values() -> None:
    scores = np.array([[0.1, 0.9], [0.8, 0.2]])
    by_class = LOSSES["squared-error"](scores, np.array([1, 1]))
    by_value = LOSSES["squared-error"](scores, np.array([[0.0, 0.3], [0.0, 0.0]]))
    probabilities = LOSSES["binary-cross-entropy"](np.array([[9.0, -9.0]]), np.array([[1.0, 1.0]]))
    assert (by_class.errors, by_class.judged) == (1, 2)
    assert (by_value.errors, by_value.judged) == (2, 4)
    assert (probabilities.errors, probabilities.judged) == (1, 2)


@pytest.mark.parametrize(("name", "kind"), JUDGED)
def test_a_loss_writes_to_nothing_that_it_is_given(name: str, kind: str) -> None:
    outputs, labels = np.random.default_rng(7).normal(size=(N, K)).astype("f4"), answers(kind)
    outputs.flags.writeable = labels.flags.writeable = False
    result = LOSSES[name](outputs, labels)
    assert result.gradient.dtype == np.float32
    assert not np.shares_memory(result.gradient, outputs)
