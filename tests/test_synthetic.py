"""Gradient models start at zero, learn from their present error, and see labels if conditioned.

The reference is a linear model written out: W and b at zero, plain_sgd gradient descent on half the
squared error, the mean over the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from protocol import Activation, DataConfig, Gradient, LayerConfig, Pipeline
from protocol.dataset_info import DatasetInfo
from workers.assembly.build import build_layer
from workers.nn import LOSSES, Floats, Labels, Shape
from workers.nn.optim import Adam, Sgd
from workers.rules.synthetic import SyntheticGradient

N, FEATURES, CLASSES = 8, 6, 3
LR = 0.1
KERNEL = 3
HIDDEN = ((), (7,), (7, 5))
KINDS = ("none", "classes", "values")
MODELS = [(hidden, kind) for hidden in HIDDEN for kind in KINDS]

over_models = pytest.mark.parametrize(("hidden", "kind"), MODELS)
plain_sgd = partial(Sgd, momentum=0.0, dtype="f8")


class RecordingOptimizer:
    """An optimiser that updates nothing and records the gradient."""

    def __init__(self, size: int) -> None:
        self.count = 0
        self.seen: Floats = np.zeros(size)

    def step(self, parameters: Floats, gradients: Floats, lr: float, scale: float) -> None:  # noqa: ARG002
        self.count += 1
        self.seen = gradients * scale

    def named(self) -> dict[str, Floats]:
        return {}


def model_of(
    hidden: Sequence[int] = (),
    kind: str = "none",
    shape: Shape = (FEATURES,),
    optimizer: Callable[[int], Adam | Sgd | RecordingOptimizer] = plain_sgd,
    dtype: str = "f8",
) -> SyntheticGradient:
    classes = 0 if kind == "none" else CLASSES
    return SyntheticGradient(
        shape, classes, hidden, KERNEL, np.random.default_rng(0), optimizer, dtype
    )


def randomised(model: SyntheticGradient) -> SyntheticGradient:
    """`model` with random parameters, none of them zero."""
    parameters = model.stack.parameters
    parameters[...] = np.random.default_rng(1).normal(size=parameters.size)
    return model


def normal(*shape: int, seed: int = 2) -> Floats:
    return np.random.default_rng(seed).normal(size=shape)


def labels_of(kind: str, seed: int = 3) -> Labels:
    rng = np.random.default_rng(seed)
    return rng.uniform(size=(N, CLASSES)) if kind == "values" else rng.integers(0, CLASSES, N)


@over_models
def test_the_first_prediction_is_exactly_zero(hidden: Sequence[int], kind: str) -> None:
    prediction = model_of(hidden, kind, shape=(2, 3)).predict(normal(N, 2, 3), labels_of(kind))
    assert prediction.value.shape == (N, 2, 3)
    assert not prediction.value.any()


@over_models
def test_a_fit_follows_the_gradient_of_half_the_squared_error(
    hidden: Sequence[int], kind: str
) -> None:
    model = randomised(model_of(hidden, kind, optimizer=RecordingOptimizer))
    h, target, labels = normal(N, FEATURES), normal(N, FEATURES, seed=4), labels_of(kind)
    model.fit(model.predict(h, labels), target, LR)
    assert isinstance(model.optimizer, RecordingOptimizer)
    parameters, step = model.stack.parameters, 1e-5

    def error(i: int, moved: float) -> float:
        kept, parameters[i] = parameters[i], parameters[i] + moved
        wrong = model.predict(h, labels).value - target
        parameters[i] = kept
        return 0.5 * float(np.vdot(wrong, wrong)) / N

    gradient = [(error(i, step) - error(i, -step)) / (2 * step) for i in range(parameters.size)]
    assert_allclose(model.optimizer.seen, gradient, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_linear_target_is_learned(dtype: str) -> None:
    model = model_of((), "classes", optimizer=partial(Adam, dtype=dtype), dtype=dtype)
    a, by_class = normal(FEATURES, FEATURES, seed=5), normal(CLASSES, FEATURES, seed=6)
    rng = np.random.default_rng(7)
    for step in range(700):
        h, labels = rng.normal(size=(32, FEATURES)).astype(dtype), rng.integers(0, CLASSES, 32)
        prediction = model.predict(h, labels)
        target = (h @ a + by_class[labels]).astype(dtype)
        model.fit(prediction, target, 0.03 if step < 500 else 0.003)
    assert_allclose(prediction.value, target, atol=0.01)


def reference(w: Floats, h: Floats, target: Floats) -> Floats:
    """W (the bias its last row) after one step on the error that W makes on `h`."""
    x = np.column_stack((h, np.ones(len(h))))
    return w - LR / len(h) * x.T @ (x @ w - target)


def test_a_fit_to_an_old_prediction_uses_the_error_of_the_present_model() -> None:
    model = model_of()
    h1, h2, target1, target2 = np.random.default_rng(8).normal(size=(4, N, FEATURES))
    labels = labels_of("none")
    old = model.predict(h1, labels), model.predict(h2, labels)
    model.fit(old[0], target1, LR)
    model.fit(old[1], target2, LR)
    zero = np.zeros((FEATURES + 1, FEATURES))
    now = reference(reference(zero, h1, target1), h2, target2)
    delayed = reference(zero, h1, target1) + reference(zero, h2, target2)
    assert np.abs(now - delayed).max() > 1e-3
    assert_allclose(model.stack.parameters.reshape(FEATURES + 1, FEATURES), now, rtol=1e-12)


@over_models
def test_a_fit_to_an_old_prediction_equals_a_fit_to_a_new_one_bit_for_bit(
    hidden: Sequence[int], kind: str
) -> None:
    late, prompt = randomised(model_of(hidden, kind)), randomised(model_of(hidden, kind))
    h, target, labels = normal(3, N, FEATURES), normal(3, N, FEATURES, seed=9), labels_of(kind)
    predictions = [late.predict(each, labels) for each in h]
    for prediction, each, true in zip(predictions, h, target, strict=True):
        late.fit(prediction, true, LR)
        prompt.fit(prompt.predict(each, labels), true, LR)
    assert_array_equal(late.stack.parameters, prompt.stack.parameters)


@over_models
def test_a_fit_to_a_new_prediction_uses_its_forward_pass(hidden: Sequence[int], kind: str) -> None:
    model, manual = randomised(model_of(hidden, kind)), randomised(model_of(hidden, kind))
    h, target, labels = normal(N, FEATURES), normal(N, FEATURES, seed=10), labels_of(kind)
    prediction, same = model.predict(h, labels), manual.predict(h, labels)
    model.fit(prediction._replace(x=np.full_like(h, np.nan)), target, LR)
    manual.stack.backward(same.caches, same.value - target, need_dx=False)
    manual.optimizer.step(manual.stack.parameters, manual.stack.gradients, LR, 1 / N)
    assert_array_equal(model.stack.parameters, manual.stack.parameters)


@over_models
def test_inputs_are_never_written_to(hidden: Sequence[int], kind: str) -> None:
    model = randomised(model_of(hidden, kind, dtype="f4", optimizer=Adam))
    h, target = normal(N, FEATURES).astype("f4"), normal(N, FEATURES, seed=11).astype("f4")
    labels = labels_of(kind)
    for message in (h, target, labels):
        message.flags.writeable = False
    predictions = [model.predict(h, labels) for _ in range(2)]
    kept = predictions[0].value.copy()
    for prediction in predictions:
        model.fit(prediction, target, LR)
        assert prediction.value.dtype == np.float32
        assert_array_equal(prediction.value, kept)


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("kind", ["classes", "values"])
def test_a_conditioned_model_sees_the_labels(hidden: Sequence[int], kind: str) -> None:
    model, h = model_of(hidden, kind), normal(N, FEATURES)
    model.fit(model.predict(h, labels_of(kind)), normal(N, FEATURES, seed=12), LR)
    model.fit(model.predict(h, labels_of(kind)), normal(N, FEATURES, seed=12), LR)
    one, other = (model.predict(h, labels_of(kind, seed)).value for seed in (3, 13))
    assert np.abs(one - other).max() > 1e-4


@pytest.mark.parametrize("hidden", HIDDEN)
def test_an_unconditioned_model_does_not_see_the_labels(hidden: Sequence[int]) -> None:
    model, h = model_of(hidden), normal(N, FEATURES)
    model.fit(model.predict(h, labels_of("classes")), normal(N, FEATURES, seed=12), LR)
    one, other = (model.predict(h, labels_of("classes", seed)).value for seed in (3, 13))
    assert one.any()
    assert_array_equal(one, other)


def test_a_fit_does_not_depend_on_the_batch_size() -> None:
    h, target, labels = normal(N, FEATURES), normal(N, FEATURES, seed=14), labels_of("classes")
    small, large = model_of((), "classes"), model_of((), "classes")
    small.fit(small.predict(h, labels), target, LR)
    twice = [np.concatenate((each, each)) for each in (h, target)]
    large.fit(large.predict(twice[0], np.concatenate((labels, labels))), twice[1], LR)
    assert_allclose(large.stack.parameters, small.stack.parameters, rtol=1e-12)


def test_the_model_learns_the_gradient_of_the_summed_loss() -> None:
    """Squared error of h V: its gradient, h V Vᵀ - Y Vᵀ, is linear in h and the label."""
    v, rng = normal(FEATURES, CLASSES, seed=15), np.random.default_rng(16)
    model = model_of((), "classes", optimizer=partial(Adam, dtype="f8"))

    def summed(h: Floats, labels: Labels) -> float:
        return LOSSES["squared-error"](h @ v, labels).loss

    for step in range(700):
        h, labels = rng.normal(size=(N, FEATURES)), rng.integers(0, CLASSES, N)
        target = LOSSES["squared-error"](h @ v, labels).gradient @ v.T
        model.fit(model.predict(h, labels), target, 0.03 if step < 500 else 0.003)
    prediction = model.predict(h, labels).value
    for i in np.ndindex(h.shape):
        moved = np.zeros_like(h)
        moved[i] = 1e-3
        gradient = (summed(h + moved, labels) - summed(h - moved, labels)) / 2e-3
        assert prediction[i] == pytest.approx(gradient, rel=0.02, abs=0.05)


def test_the_output_layer_sends_the_gradient_of_the_summed_loss() -> None:
    layers = (LayerConfig(("linear 4",)), LayerConfig(("linear 3",)))
    info = DatasetInfo((5,), "<f4", 1.0, CLASSES, labelled=True, examples=64, tests=8)
    output = build_layer(Pipeline(data=DataConfig(name="digits", batch=N), layer=layers), info, 1)
    x, labels = normal(N, 4).astype("f4"), labels_of("classes")
    weight, bias = (array.copy() for array in output.stack.named().values())
    output.receive("layer0", Activation(1, 1, True, x, labels))
    (sent,) = output.work()
    scores = np.exp(x @ weight + bias)
    summed = (scores / scores.sum(axis=1, keepdims=True) - np.eye(CLASSES)[labels]) @ weight.T
    assert sent.to == "layer0"
    assert isinstance(sent.message, Gradient)
    assert_allclose(np.asarray(sent.message.gradient, "f8"), summed, rtol=1e-4, atol=1e-6)
