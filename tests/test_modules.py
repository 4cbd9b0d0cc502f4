"""Every gradient is the slope of its function, by finite differences in float64 and by PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from protocol import spec
from workers.nn import LOSSES, WORDS, BatchNorm, Floats, Labels, Shape, Stack, modules
from workers.nn import module as make
from workers.optim import Adam
from workers.synthetic import SyntheticGradient

CASES: Mapping[str, tuple[str, Shape]] = {
    "linear": ("linear 4", (2, 3)),
    "batchnorm": ("batchnorm", (2, 3)),
    "relu": ("relu", (3, 2)),
    "tanh": ("tanh", (6,)),
    "sigmoid": ("sigmoid", (6,)),
    "flatten": ("flatten", (3, 2)),
}
"""For each word of the grammar a module and the shape of an example."""

DEEP = ("linear 5", "batchnorm", "tanh", "linear 6", "batchnorm", "relu", "linear 4", "sigmoid")
JUDGED = [(name, kind) for name in LOSSES for kind in ("classes", "values")]
JUDGED.remove(("cross-entropy", "values"))
MODELS = [(hidden, kind) for hidden in ((), (5,), (5, 4)) for kind in ("none", "classes", "values")]
N, K = 5, 3


def difference(value: Callable[[], float], at: Floats, h: float = 1e-5) -> Floats:
    """The gradient of `value` by every entry of `at`, by central differences."""
    found = np.empty_like(at)
    for i in np.ndindex(at.shape):
        kept = at[i]
        at[i] = kept + h
        above = value()
        at[i] = kept - h
        found[i] = (above - value()) / (2 * h)
        at[i] = kept
    return found


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


def away_from_zero(rng: np.random.Generator, shape: Shape) -> Floats:
    x = rng.normal(size=shape)
    return x + np.copysign(0.1, x)


def kink_distance(stack: Stack, x: Floats) -> float:
    """The least absolute input of any ReLU in `stack`."""
    least = np.inf
    for i, module in enumerate(stack.modules):
        if module.word == "relu":
            least = min(least, float(np.abs(x).min()))
        p = {k.split(".")[2]: v for k, v in stack.named().items() if k.startswith(f"{i}.")}
        x, _ = module.forward(p, x, train=True)
    return least


def has_its_slopes(stack: Stack, x: Floats) -> None:
    """Assert that `backward` agrees with the finite differences by inputs and parameters."""
    assert kink_distance(stack, x) > 1e-3
    y, caches = stack.forward(x, train=True)
    direction = np.random.default_rng(1).normal(size=y.shape)
    dx = stack.backward(caches, direction, need_dx=True).copy()
    gradients = stack.gradients.copy()

    def value() -> float:
        return float(np.vdot(stack.forward(x, train=True)[0], direction))

    assert dx.shape == x.shape
    assert_allclose(dx, difference(value, x), rtol=1e-7, atol=1e-8)
    assert_allclose(gradients, difference(value, stack.parameters), rtol=1e-7, atol=1e-8)
    stack.backward(stack.forward(x, train=True)[1], direction, need_dx=False)
    assert_array_equal(stack.gradients, gradients)


def answers(kind: str, n: int = N, k: int = K) -> Labels:
    rng = np.random.default_rng(4)
    return rng.integers(0, k, n) if kind != "values" else rng.uniform(0, 1, (n, k))


@pytest.mark.parametrize("word", WORDS)
def test_a_module_has_the_slopes_of_its_function(word: str) -> None:
    assert word in CASES, f"give the new word {word!r} a case"
    text, shape = CASES[word]
    has_its_slopes(stack_of([text], shape), away_from_zero(np.random.default_rng(3), (N, *shape)))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_whole_layer_has_the_slopes_of_its_function(seed: int) -> None:
    x = np.random.default_rng(30 + seed).normal(size=(7, 2, 3))
    has_its_slopes(stack_of(DEEP, (2, 3), seed), x)


@pytest.mark.parametrize(("hidden", "kind"), MODELS)
def test_a_gradient_model_has_the_slopes_of_its_function(hidden: Sequence[int], kind: str) -> None:
    classes = 0 if kind == "none" else K
    rng = np.random.default_rng(2)
    model = SyntheticGradient((2, 2), classes, hidden, rng, Adam, "f8")
    model.stack.parameters[...] = rng.normal(size=model.stack.parameters.size)
    guess = model.guess(rng.normal(size=(N, 2, 2)), answers(kind))
    has_its_slopes(model.stack, guess.x.copy())


@pytest.mark.parametrize(("name", "kind"), JUDGED)
def test_a_loss_gives_the_slope_of_the_sum_over_the_batch(name: str, kind: str) -> None:
    outputs, labels = np.random.default_rng(7).normal(size=(N, K)), answers(kind)
    judgement = LOSSES[name](outputs, labels)
    slopes = difference(lambda: LOSSES[name](outputs, labels).loss, outputs)
    assert_allclose(judgement.gradient, slopes, rtol=1e-7, atol=1e-8)
    parts = [LOSSES[name](outputs[i : i + 1], labels[i : i + 1]) for i in range(N)]
    assert judgement.loss == pytest.approx(sum(part.loss for part in parts), rel=1e-12)
    assert judgement.errors == sum(part.errors for part in parts)


def test_every_loss_that_a_pipeline_may_name_is_there() -> None:
    assert set(LOSSES) == set(spec.LOSSES)


@pytest.mark.parametrize(("name", "kind"), JUDGED)
def test_a_loss_survives_outputs_of_any_size(name: str, kind: str) -> None:
    outputs = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]], np.float32)
    judgement = LOSSES[name](outputs, answers(kind, 2))
    assert np.isfinite(judgement.loss)
    assert np.isfinite(judgement.gradient).all()


def test_errors_are_counted_by_example_for_classes_and_by_output_for_values() -> None:
    scores = np.array([[0.1, 0.9], [0.8, 0.2]])
    by_class = LOSSES["squared-error"](scores, np.array([1, 1]))
    by_value = LOSSES["squared-error"](scores, np.array([[0.0, 0.3], [0.0, 0.0]]))
    probabilities = LOSSES["binary-cross-entropy"](np.array([[9.0, -9.0]]), np.array([[1.0, 1.0]]))
    assert (by_class.errors, by_class.judged) == (1, 2)
    assert (by_value.errors, by_value.judged) == (2, 4)
    assert (probabilities.errors, probabilities.judged) == (1, 2)


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
    stack = stack_of(["batchnorm"], (3,))
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


@pytest.mark.parametrize("texts", [*([text] for text, _ in CASES.values()), DEEP])
def test_batches_in_flight_do_not_disturb_each_other(texts: Sequence[str]) -> None:
    stack = stack_of(texts, (2, 3))
    xs = np.random.default_rng(10).normal(size=(2, N, 2, 3))

    def backward(caches: list[object]) -> tuple[Floats, Floats]:
        dy = np.random.default_rng(11).normal(size=(N, *stack.output))
        return stack.backward(caches, dy, need_dx=True).copy(), stack.gradients.copy()

    alone = [backward(stack.forward(x, train=True)[1]) for x in xs]
    for turn in ((0, 1), (1, 0)):
        caches = [stack.forward(x, train=True)[1] for x in xs]
        found = {i: backward(caches[i]) for i in turn}
        for i in turn:
            assert_array_equal(found[i][0], alone[i][0])
            assert_array_equal(found[i][1], alone[i][1])


@pytest.mark.parametrize("dtype", ["u1", "i2", "i8", "?"])
def test_integers_are_scaled_as_they_enter_and_floats_are_not(dtype: str) -> None:
    x = np.arange(12).reshape(4, 3).astype(dtype)
    stack = Stack([make("linear 2", (3,), "k")], np.random.default_rng(0), scale=1 / 255)
    y, _ = stack.forward(x, train=True)
    expected, _ = stack.forward(x.astype("f4") / np.float32(255), train=True)
    assert_allclose(y, expected, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("texts", [*([text] for text, _ in CASES.values()), DEEP])
def test_inputs_and_messages_are_never_written_to(texts: Sequence[str], dtype: str) -> None:
    stack = stack_of(texts, (2, 3), dtype=dtype)
    x = readonly(np.random.default_rng(12).normal(size=(N, 2, 3)).astype(dtype))
    stack.forward(x, train=False)
    y, caches = stack.forward(x, train=True)
    dx = stack.backward(caches, readonly(np.ones_like(y)), need_dx=True)
    assert (y.dtype, dx.dtype) == (x.dtype, x.dtype)


@pytest.mark.parametrize(("name", "kind"), JUDGED)
def test_a_loss_writes_to_nothing_that_it_is_given(name: str, kind: str) -> None:
    outputs, labels = np.random.default_rng(7).normal(size=(N, K)).astype("f4"), answers(kind)
    labels.flags.writeable = False
    judgement = LOSSES[name](readonly(outputs), labels)
    assert judgement.gradient.dtype == np.float32
    assert not np.shares_memory(judgement.gradient, outputs)


@pytest.fixture(scope="module")
def torch() -> ModuleType:
    found: ModuleType = pytest.importorskip("torch", reason="the peer; pip install 'dni[torch]'")
    return found


def in_torch(word: str, f: Any, x: Any, p: Mapping[str, Any], train: bool) -> Any:
    """`word` as torch.nn.functional has it; channels are the last axis here, the second there."""
    if word == "linear":
        return f.linear(x.flatten(1), p["weight"].T, p["bias"])
    if word == "batchnorm":
        rows = x.reshape(-1, x.shape[-1])
        running = p["running_mean"], p["running_var"]
        return f.batch_norm(rows, *running, p["scale"], p["shift"], train).reshape(x.shape)
    return x.flatten(1) if word == "flatten" else getattr(f, word)(x)


@pytest.mark.parametrize(("dtype", "tight"), [("f4", 2e-5), ("f8", 1e-10)])
@pytest.mark.parametrize("word", WORDS)
def test_a_module_and_its_gradients_are_those_of_pytorch(
    torch: ModuleType, word: str, dtype: str, tight: float
) -> None:
    text, shape = CASES[word]
    stack = stack_of([text], shape, dtype=dtype)
    p = {name.split(".")[2]: torch.tensor(array) for name, array in stack.named().items()}
    learnt = [p[name] for name in stack.modules[0].initial(np.random.default_rng(0))]
    for step in range(4):
        x = np.random.default_rng(step).normal(1, 2, (64, *shape)).astype(dtype)
        theirs_x = torch.tensor(x, requires_grad=True)
        for each in learnt:
            each.requires_grad_().grad = None
        theirs = in_torch(word, torch.nn.functional, theirs_x, p, train=True)
        ours, caches = stack.forward(x, train=True)
        dy = np.random.default_rng(9).normal(size=ours.shape).astype(dtype)
        theirs.backward(torch.tensor(dy))
        assert_allclose(ours, theirs.detach(), rtol=tight, atol=tight)
        dx = stack.backward(caches, dy, need_dx=True)
        assert_allclose(dx, theirs_x.grad, rtol=tight, atol=tight)
        slopes = [each.grad.numpy().ravel() for each in learnt] or [np.empty(0)]
        assert_allclose(stack.gradients, np.concatenate(slopes), rtol=tight, atol=10 * tight)
        for name, array in stack.named().items():
            assert_allclose(array, p[name.split(".")[2]].detach(), rtol=tight, atol=tight)
        evaluated = in_torch(word, torch.nn.functional, theirs_x, p, train=False)
        assert_allclose(stack.forward(x, False)[0], evaluated.detach(), rtol=tight, atol=tight)


@pytest.mark.parametrize(("dtype", "tight"), [("f4", 5e-6), ("f8", 1e-12)])
@pytest.mark.parametrize(("name", "kind"), JUDGED)
def test_a_loss_and_its_gradient_are_those_of_pytorch(
    torch: ModuleType, name: str, kind: str, dtype: str, tight: float
) -> None:
    f, labels = torch.nn.functional, answers(kind, 64)
    bce = f.binary_cross_entropy_with_logits
    outputs = np.random.default_rng(13).normal(0, 3, (64, K)).astype(dtype)
    x = torch.tensor(outputs, requires_grad=True)
    wanted = torch.tensor(labels if kind == "values" else np.eye(K)[labels]).to(x.dtype)
    losses = {
        "cross-entropy": lambda: f.cross_entropy(x, torch.tensor(labels), reduction="sum"),
        "squared-error": lambda: f.mse_loss(x, wanted, reduction="sum") / 2,
        "binary-cross-entropy": lambda: bce(x, wanted, reduction="sum"),
    }
    loss = losses[name]()
    loss.backward()
    judgement = LOSSES[name](outputs, labels)
    assert judgement.loss == pytest.approx(loss.item(), rel=tight)
    assert_allclose(judgement.gradient, x.grad, rtol=tight, atol=tight)
