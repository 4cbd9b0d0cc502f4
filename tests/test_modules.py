"""Every gradient equals finite differences in float64, and modules have no hidden state."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from workers.nn import (
    MODULES,
    Conditioned,
    ConditionedInput,
    Floats,
    Labels,
    Linear,
    Shape,
    Stack,
    modules,
)
from workers.nn import module as make
from workers.nn.optim import Adam
from workers.rules.synthetic import ModelInput, SyntheticGradient

CASES: tuple[tuple[Sequence[str], Shape], ...] = (
    (["linear 4"], (2, 3)),
    (["batchnorm"], (2, 3)),
    (["batchnorm"], (3, 2, 2)),
    (["relu"], (3, 2)),
    (["tanh"], (6,)),
    (["sigmoid"], (6,)),
    (["flatten"], (3, 2)),
    (["standardise"], (3, 4, 2)),
    (["standardise"], (5,)),
    (["dropout 0.4"], (5, 4)),
    (["conv 2 1"], (3, 2, 2)),
    (["conv 2 2"], (4, 3, 3)),
    (["conv 3 3 pad same"], (5, 4)),
    (["conv 2 2 pad same"], (3, 4, 2)),
    (["conv 2 3 stride 2 pad 1"], (6, 5, 2)),
    (["conv 2 2 stride 3"], (5, 6, 2)),
    (["conv 1 2 pad 3"], (2, 3, 1)),
    (["conv 2 3 stride 4 pad 3"], (3, 2, 1)),
    (["conv 2 4"], (4, 4, 1)),
    (["maxpool 1"], (2, 3, 2)),
    (["maxpool 2"], (5, 4, 2)),
    (["maxpool 3 stride 2"], (7, 6, 2)),
    (["maxpool 3 stride 2 pad 1"], (5, 6)),
    (["maxpool 2 stride 3"], (5, 6, 2)),
    (["maxpool 4"], (4, 4, 2)),
    (["avgpool 2"], (5, 4, 2)),
    (["avgpool 3 stride 2 pad 1"], (5, 6)),
    (["avgpool 2 stride 3"], (5, 6, 2)),
    (["avgpool 4 stride 1 pad 2"], (4, 4, 2)),
    (["linear 5", "batchnorm", "tanh", "linear 6", "batchnorm", "relu", "linear 4"], (2, 3)),
    (["conv 3 3 pad 1", "batchnorm", "tanh", "maxpool 3 stride 2", "linear 4"], (5, 6, 2)),
    (["standardise", "conv 2 2 stride 2", "sigmoid", "avgpool 2", "dropout 0.2"], (8, 9)),
)
MODELS = [(hidden, kind) for hidden in ((), (5,), (5, 4)) for kind in ("none", "classes", "values")]
SHAPES: tuple[Shape, ...] = ((6,), (2, 2), (2, 3, 2))
N, K = 5, 3

Difference = Callable[[Callable[[], float], Floats], Floats]
over_cases = pytest.mark.parametrize(("texts", "shape"), CASES)


def readonly(array: Floats) -> Floats:
    array = array.copy()
    array.flags.writeable = False
    return array


def stack_of(texts: Sequence[str], shape: Shape, seed: int = 0, dtype: str = "f8") -> Stack:
    """The modules with random parameters, none of them at a special value."""
    rng = np.random.default_rng(seed)
    stack = Stack(modules(texts, shape, "layer[0]"), rng, dtype=dtype)
    stack.parameters[...] = rng.uniform(0.3, 1.2, stack.parameters.size)
    stack.parameters[::2] *= -1
    return stack


def restart(stack: Stack) -> None:
    """Restart the random numbers of `stack`."""
    for module in stack.modules:
        module.initial(np.random.default_rng(0))


def away_from_zero(rng: np.random.Generator, shape: Shape) -> Floats:
    x = rng.normal(size=shape)
    return x + np.copysign(0.1, x)


def kink_distance(stack: Stack, x: ModelInput) -> float:
    """The smallest absolute input of any ReLU in `stack`."""
    least = np.inf
    x = stack.as_floats(x)
    for i, module in enumerate(stack.modules):
        if module.kind == "relu":
            least = min(least, float(np.abs(x).min()))
        p = {k.split(".")[2]: v for k, v in stack.named().items() if k.startswith(f"{i}.")}
        x, _ = module.forward(p, x, train=True)
    return least


def check_gradients(
    stack: Stack,
    x: Floats,
    difference: Difference,
    to_input: Callable[[Floats], ModelInput] = lambda x: x,
) -> None:
    """Assert that `backward` agrees with the finite differences by inputs and parameters.

    `to_input` converts `x` to the input of the stack.
    """
    assert kink_distance(stack, to_input(x)) > 1e-3

    def forward() -> tuple[Floats, list[object]]:
        restart(stack)
        return stack.forward(to_input(x), train=True)

    y, caches = forward()
    assert y.shape == (len(x), *stack.output)
    direction = np.random.default_rng(1).normal(size=y.shape)
    dx = stack.backward(caches, direction, need_dx=True).copy()
    gradients = stack.gradients.copy()

    def value() -> float:
        return float(np.vdot(forward()[0], direction))

    assert dx.shape == x.shape
    assert_allclose(dx, difference(value, x), rtol=1e-7, atol=1e-8)
    assert_allclose(gradients, difference(value, stack.parameters), rtol=1e-7, atol=1e-8)
    stack.backward(forward()[1], direction, need_dx=False)
    if any(module.kind == "conv" for module in stack.modules):
        assert_allclose(stack.gradients, gradients, rtol=1e-11, atol=1e-12)
    else:
        assert_array_equal(stack.gradients, gradients)


def answers(kind: str) -> Labels:
    rng = np.random.default_rng(4)
    return rng.integers(0, K, N) if kind != "values" else rng.uniform(0, 1, (N, K))


def test_every_module_has_a_case() -> None:
    assert {text.split()[0] for texts, _ in CASES for text in texts} == MODULES.keys()


@over_cases
def test_gradients_of_modules_equal_finite_differences(
    texts: Sequence[str], shape: Shape, difference: Difference
) -> None:
    x = away_from_zero(np.random.default_rng(3), (N, *shape))
    check_gradients(stack_of(texts, shape), x, difference)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("hidden", "kind"), MODELS)
def test_gradients_of_gradient_models_equal_finite_differences(
    hidden: Sequence[int], kind: str, shape: Shape, difference: Difference
) -> None:
    classes = 0 if kind == "none" else K
    rng = np.random.default_rng(2)
    model = SyntheticGradient(shape, classes, hidden, 3, rng, Adam, "f8")
    model.stack.parameters[...] = rng.normal(size=model.stack.parameters.size)
    h, c = rng.normal(size=(N, *shape)), answers(kind)
    if isinstance(x := model.predict(h, c).x, ConditionedInput):
        check_gradients(model.stack, h, difference, lambda h: ConditionedInput(h, c))
    else:
        check_gradients(model.stack, x.copy(), difference)


@pytest.mark.parametrize("shape", [(6,), (2, 3)])
@pytest.mark.parametrize("kind", ["classes", "values"])
def test_a_conditioned_module_equals_linear_on_the_concatenation(shape: Shape, kind: str) -> None:
    rng = np.random.default_rng(14)
    h, c, dy = rng.normal(size=(N, *shape)), answers(kind), rng.normal(size=(N, 4))
    row = np.concatenate((h.reshape(N, 6), np.eye(K)[c] if c.ndim == 1 else c), axis=1)
    found = []
    for made, x in ((Conditioned(shape, K, 4), ConditionedInput(h, c)), (Linear((6 + K,), 4), row)):
        stack = Stack([made], np.random.default_rng(15), dtype="f8")
        y, caches = stack.forward(x, train=True)
        dx = stack.backward(caches, dy, need_dx=True).reshape(N, -1)[:, :6]
        found.append((y, dx, stack.gradients, stack.parameters))
    for one, other in zip(*found, strict=True):
        assert_allclose(one, other, rtol=1e-12, atol=1e-12)


@over_cases
def test_batches_in_flight_do_not_disturb_each_other(texts: Sequence[str], shape: Shape) -> None:
    stack = stack_of(texts, shape)
    xs = np.random.default_rng(10).normal(size=(2, N, *shape))

    def backward(caches: list[object]) -> tuple[Floats, Floats]:
        dy = np.random.default_rng(11).normal(size=(N, *stack.output))
        return stack.backward(caches, dy, need_dx=True).copy(), stack.gradients.copy()

    restart(stack)
    alone = [backward(stack.forward(x, train=True)[1]) for x in xs]
    for turn in ((0, 1), (1, 0)):
        restart(stack)
        caches = [stack.forward(x, train=True)[1] for x in xs]
        found = {i: backward(caches[i]) for i in turn}
        for i in turn:
            assert_array_equal(found[i][0], alone[i][0])
            assert_array_equal(found[i][1], alone[i][1])


@pytest.mark.parametrize("dtype", ["u1", "i2", "i8", "?"])
def test_integer_inputs_are_scaled_and_floats_are_not(dtype: str) -> None:
    x = np.arange(12).reshape(4, 3).astype(dtype)
    stack = Stack([make("linear 2", (3,), "k")], np.random.default_rng(0), scale=1 / 255)
    y, _ = stack.forward(x, train=True)
    expected, _ = stack.forward(x.astype("f4") / np.float32(255), train=True)
    assert_allclose(y, expected, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@over_cases
def test_inputs_and_messages_are_never_written_to(
    texts: Sequence[str], shape: Shape, dtype: str
) -> None:
    stack = stack_of(texts, shape, dtype=dtype)
    x = readonly(np.random.default_rng(12).normal(size=(N, *shape)).astype(dtype))
    stack.forward(x, train=False)
    y, caches = stack.forward(x, train=True)
    dx = stack.backward(caches, readonly(np.ones_like(y)), need_dx=True)
    assert (y.dtype, dx.dtype) == (x.dtype, x.dtype)


@over_cases
def test_the_same_seed_gives_the_same_numbers(texts: Sequence[str], shape: Shape) -> None:
    x = np.random.default_rng(13).normal(size=(2, N, *shape))
    one, other = stack_of(texts, shape), stack_of(texts, shape)
    for each in x:
        assert_array_equal(one.forward(each, True)[0], other.forward(each, True)[0])
        assert_array_equal(one.forward(each, False)[0], other.forward(each, False)[0])
