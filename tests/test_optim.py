"""Optimisers take the steps of their papers and of PyTorch, for vectors of any size."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from workers.nn import Floats
from workers.nn.optim import BLOCK, Adam, Optimizer, Sgd, learning_rate

STEPS = 50
LR = 0.01
MOMENTUM = 0.8
SIZES = (1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7)
MAKERS: dict[str, Callable[[int, str], Optimizer]] = {
    "adam": lambda size, dtype: Adam(size, dtype),
    "sgd": lambda size, dtype: Sgd(size, MOMENTUM, dtype),
}
PRECISIONS = (("f4", 2e-5), ("f8", 1e-11))

over_sizes = pytest.mark.parametrize("size", SIZES)
over_precisions = pytest.mark.parametrize(("dtype", "tight"), PRECISIONS)
over_makers = pytest.mark.parametrize("name", MAKERS)


def first(size: int, dtype: str) -> Floats:
    return np.resize(np.random.default_rng(0).normal(size=1009), size).astype(dtype)


def gradient_of(step: int, size: int, dtype: str) -> Floats:
    """The gradient of a step, of many magnitudes; its period is not that of the blocks."""
    g = np.random.default_rng(step).normal(size=997) * np.logspace(-4, 2, 997)
    g[0] = 0
    return np.resize(g.astype(dtype), size)


def trained(name: str, size: int, dtype: str, scale: float = 1.0, times: float = 1.0) -> Floats:
    """The parameters after 50 steps on `times` the gradients, at `scale`."""
    optimizer, parameters = MAKERS[name](size, dtype), first(size, dtype)
    for step in range(STEPS):
        gradients = (gradient_of(step, size, dtype) * times).astype(dtype)
        optimizer.step(parameters, gradients, LR, scale)
    assert optimizer.count == STEPS
    return parameters


def adam_by_the_paper(size: int, dtype: str) -> Floats:
    """Algorithm 1 of arXiv 1412.6980, line by line, in float64."""
    theta = first(size, dtype).astype("f8")
    m, v = np.zeros(size), np.zeros(size)
    for t in range(1, STEPS + 1):
        g = gradient_of(t - 1, size, dtype).astype("f8")
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g**2
        m_hat, v_hat = m / (1 - 0.9**t), v / (1 - 0.999**t)
        theta = theta - LR * m_hat / (np.sqrt(v_hat) + 1e-8)
    return theta


def sgd_by_the_sum(size: int, dtype: str) -> Floats:
    """Momentum unrolled: a gradient's contribution after k more steps is a geometric sum."""
    theta = first(size, dtype).astype("f8")
    for step in range(STEPS):
        factor = (1 - MOMENTUM ** (STEPS - step)) / (1 - MOMENTUM)
        theta -= LR * factor * gradient_of(step, size, dtype)
    return theta


@over_precisions
@over_sizes
def test_adam_takes_the_steps_of_its_paper(size: int, dtype: str, tight: float) -> None:
    expected = adam_by_the_paper(size, dtype)
    assert_allclose(trained("adam", size, dtype), expected, rtol=tight, atol=tight)


@over_precisions
@over_sizes
def test_sgd_adds_up_gradients_with_momentum(size: int, dtype: str, tight: float) -> None:
    expected = sgd_by_the_sum(size, dtype)
    assert_allclose(trained("sgd", size, dtype), expected, rtol=tight, atol=tight)


@pytest.fixture(scope="module")
def torch() -> ModuleType:
    found: ModuleType = pytest.importorskip("torch", reason="the peer; pip install '.[torch]'")
    return found


@pytest.mark.service
@over_precisions
@over_sizes
@over_makers
def test_fifty_steps_end_where_those_of_pytorch_end(
    torch: ModuleType, name: str, size: int, dtype: str, tight: float
) -> None:
    theirs = torch.tensor(first(size, dtype), requires_grad=True)
    if name == "adam":
        peer = torch.optim.Adam([theirs], lr=LR)
    else:
        peer = torch.optim.SGD([theirs], lr=LR, momentum=MOMENTUM)
    for step in range(STEPS):
        theirs.grad = torch.tensor(gradient_of(step, size, dtype))
        peer.step()
    ours = trained(name, size, dtype)
    assert_allclose(ours, theirs.detach().numpy(), rtol=tight, atol=tight)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@over_makers
def test_a_scale_of_a_power_of_two_is_the_gradients_scaled_to_the_bit(
    name: str, dtype: str
) -> None:
    scaled = trained(name, BLOCK + 1, dtype, scale=2.0**-8)
    assert_array_equal(scaled, trained(name, BLOCK + 1, dtype, times=2.0**-8))


@over_precisions
@over_makers
def test_any_scale_is_the_gradients_scaled(name: str, dtype: str, tight: float) -> None:
    scaled = trained(name, 99, dtype, scale=1 / 96)
    assert_allclose(scaled, trained(name, 99, dtype, times=1 / 96), rtol=tight, atol=tight)


@over_makers
def test_the_scale_matters(name: str) -> None:
    assert np.any(trained(name, 9, "f8", scale=0.25) != trained(name, 9, "f8"))


@over_makers
def test_the_vectors_of_an_optimiser_have_one_number_per_parameter_in_its_dtype(name: str) -> None:
    size = BLOCK + 3
    optimizer, parameters = MAKERS[name](size, "f4"), first(size, "f4")
    gradients = np.zeros(size, np.float32)
    gradients[BLOCK] = 2
    optimizer.step(parameters, gradients, LR, 1.0)
    for vector in optimizer.named().values():
        assert vector.dtype == np.float32
        assert np.flatnonzero(vector).tolist() == [BLOCK]
    assert np.flatnonzero(parameters != first(size, "f4")).tolist() == [BLOCK]


def test_adam_keeps_the_moments_that_its_paper_names() -> None:
    optimizer = Adam(1, "f8")
    optimizer.step(np.zeros(1), np.array([3.0]), LR, 0.5)
    kept = optimizer.named()
    assert kept["first_moment"].item() == pytest.approx(0.1 * 1.5)
    assert kept["second_moment"].item() == pytest.approx(0.001 * 1.5**2)


@over_precisions
def test_adam_at_a_scale_that_changes_is_the_gradients_scaled(dtype: str, tight: float) -> None:
    size = BLOCK + 7
    ours, theirs = (Adam(size, dtype) for _ in range(2))
    mine, yours = (first(size, dtype) for _ in range(2))
    for step in range(STEPS):
        scale = 1 / (1 + step % 5)
        ours.step(mine, gradient_of(step, size, dtype), LR, scale)
        theirs.step(yours, (gradient_of(step, size, "f8") * scale).astype(dtype), LR, 1.0)
    assert_allclose(mine, yours, rtol=tight, atol=tight)
    for name, vector in ours.named().items():
        assert_allclose(vector, theirs.named()[name], rtol=10 * tight, atol=tight, err_msg=name)


@over_makers
def test_a_layer_without_parameters_can_be_stepped(name: str) -> None:
    optimizer, nothing = MAKERS[name](0, "f4"), np.empty(0, np.float32)
    optimizer.step(nothing, nothing, LR, 1.0)
    assert optimizer.count == 1


@over_makers
def test_each_step_uses_its_learning_rate(name: str) -> None:
    optimizer, parameters = MAKERS[name](3, "f8"), np.ones(3)
    optimizer.step(parameters, np.ones(3), 0.0, 1.0)
    assert parameters.tolist() == [1, 1, 1]
    optimizer.step(parameters, np.ones(3), 1e-3, 1.0)
    assert (parameters < 1).all()


def test_the_rate_falls_by_ten_at_the_step_of_each_drop() -> None:
    rates = [learning_rate(0.5, (3, 5), step) for step in range(1, 7)]
    assert rates == pytest.approx([0.5, 0.5, 0.05, 0.05, 0.005, 0.005])


def test_two_drops_at_one_step_are_two_drops() -> None:
    assert learning_rate(0.5, (3, 3), 3) == pytest.approx(0.005)


@settings(deadline=None)
@given(st.lists(st.integers(1, 50), max_size=20), st.integers(0, 60), st.floats(1e-6, 10))
def test_the_rate_counts_the_drops_that_were_reached(
    drops: list[int], step: int, lr: float
) -> None:
    reached = sum(drop <= step for drop in drops)
    assert math.isclose(learning_rate(lr, sorted(drops), step), lr * 10.0**-reached)


def test_very_many_drops_make_the_learning_rate_zero() -> None:
    assert learning_rate(0.5, range(1, 401), 400) == 0
