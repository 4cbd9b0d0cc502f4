"""Gradient models begin at zero, learn from the error they make now, and see what they should.

The reference is a linear model written out: W and b at zero, plain gradient descent on half the
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
plain = partial(Sgd, momentum=0.0, dtype="f8")


class Recorder:
    """An optimiser that moves nothing and keeps what it was given."""

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
    optimizer: Callable[[int], Adam | Sgd | Recorder] = plain,
    dtype: str = "f8",
) -> SyntheticGradient:
    classes = 0 if kind == "none" else CLASSES
    return SyntheticGradient(
        shape, classes, hidden, KERNEL, np.random.default_rng(0), optimizer, dtype
    )


def stirred(model: SyntheticGradient) -> SyntheticGradient:
    """`model` with parameters none of which is zero, as after some training."""
    parameters = model.stack.parameters
    parameters[...] = np.random.default_rng(1).normal(size=parameters.size)
    return model


def drawn(*shape: int, seed: int = 2) -> Floats:
    return np.random.default_rng(seed).normal(size=shape)


def labels_of(kind: str, seed: int = 3) -> Labels:
    rng = np.random.default_rng(seed)
    return rng.uniform(size=(N, CLASSES)) if kind == "values" else rng.integers(0, CLASSES, N)


@over_models
def test_the_first_guess_is_exactly_zero(hidden: Sequence[int], kind: str) -> None:
    guess = model_of(hidden, kind, shape=(2, 3)).predict(drawn(N, 2, 3), labels_of(kind))
    assert guess.value.shape == (N, 2, 3)
    assert not guess.value.any()


@over_models
def test_teaching_descends_half_the_squared_error(hidden: Sequence[int], kind: str) -> None:
    model = stirred(model_of(hidden, kind, optimizer=Recorder))
    h, truth, labels = drawn(N, FEATURES), drawn(N, FEATURES, seed=4), labels_of(kind)
    model.fit(model.predict(h, labels), truth, LR)
    assert isinstance(model.optimizer, Recorder)
    parameters, step = model.stack.parameters, 1e-5

    def error(i: int, moved: float) -> float:
        kept, parameters[i] = parameters[i], parameters[i] + moved
        wrong = model.predict(h, labels).value - truth
        parameters[i] = kept
        return 0.5 * float(np.vdot(wrong, wrong)) / N

    slopes = [(error(i, step) - error(i, -step)) / (2 * step) for i in range(parameters.size)]
    assert_allclose(model.optimizer.seen, slopes, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_linear_target_is_learnt(dtype: str) -> None:
    model = model_of((), "classes", optimizer=partial(Adam, dtype=dtype), dtype=dtype)
    a, by_class = drawn(FEATURES, FEATURES, seed=5), drawn(CLASSES, FEATURES, seed=6)
    rng = np.random.default_rng(7)
    for step in range(700):
        h, labels = rng.normal(size=(32, FEATURES)).astype(dtype), rng.integers(0, CLASSES, 32)
        guess = model.predict(h, labels)
        truth = (h @ a + by_class[labels]).astype(dtype)
        model.fit(guess, truth, 0.03 if step < 500 else 0.003)
    assert_allclose(guess.value, truth, atol=0.01)


def reference(w: Floats, h: Floats, truth: Floats) -> Floats:
    """W (the bias its last row) after one step on the error that W makes on `h`."""
    x = np.column_stack((h, np.ones(len(h))))
    return w - LR / len(h) * x.T @ (x @ w - truth)


def test_an_old_guess_teaches_by_the_error_of_the_model_as_it_is_now() -> None:
    model = model_of()
    h1, h2, truth1, truth2 = np.random.default_rng(8).normal(size=(4, N, FEATURES))
    labels = labels_of("none")
    old = model.predict(h1, labels), model.predict(h2, labels)
    model.fit(old[0], truth1, LR)
    model.fit(old[1], truth2, LR)
    zero = np.zeros((FEATURES + 1, FEATURES))
    now = reference(reference(zero, h1, truth1), h2, truth2)
    delayed = reference(zero, h1, truth1) + reference(zero, h2, truth2)
    assert np.abs(now - delayed).max() > 1e-3
    assert_allclose(model.stack.parameters.reshape(FEATURES + 1, FEATURES), now, rtol=1e-12)


@over_models
def test_an_old_guess_teaches_to_the_bit_as_a_fresh_one(hidden: Sequence[int], kind: str) -> None:
    late, prompt = stirred(model_of(hidden, kind)), stirred(model_of(hidden, kind))
    h, truth, labels = drawn(3, N, FEATURES), drawn(3, N, FEATURES, seed=9), labels_of(kind)
    guesses = [late.predict(each, labels) for each in h]
    for guess, each, true in zip(guesses, h, truth, strict=True):
        late.fit(guess, true, LR)
        prompt.fit(prompt.predict(each, labels), true, LR)
    assert_array_equal(late.stack.parameters, prompt.stack.parameters)


@over_models
def test_a_fresh_guess_teaches_from_the_forward_that_made_it(
    hidden: Sequence[int], kind: str
) -> None:
    model, manual = stirred(model_of(hidden, kind)), stirred(model_of(hidden, kind))
    h, truth, labels = drawn(N, FEATURES), drawn(N, FEATURES, seed=10), labels_of(kind)
    guess, same = model.predict(h, labels), manual.predict(h, labels)
    model.fit(guess._replace(x=np.full_like(h, np.nan)), truth, LR)
    manual.stack.backward(same.caches, same.value - truth, need_dx=False)
    manual.optimizer.step(manual.stack.parameters, manual.stack.gradients, LR, 1 / N)
    assert_array_equal(model.stack.parameters, manual.stack.parameters)


@over_models
def test_nothing_that_came_in_is_written_to(hidden: Sequence[int], kind: str) -> None:
    model = stirred(model_of(hidden, kind, dtype="f4", optimizer=Adam))
    h, truth = drawn(N, FEATURES).astype("f4"), drawn(N, FEATURES, seed=11).astype("f4")
    labels = labels_of(kind)
    for message in (h, truth, labels):
        message.flags.writeable = False
    guesses = [model.predict(h, labels) for _ in range(2)]
    kept = guesses[0].value.copy()
    for guess in guesses:
        model.fit(guess, truth, LR)
        assert guess.value.dtype == np.float32
        assert_array_equal(guess.value, kept)


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("kind", ["classes", "values"])
def test_a_conditioned_model_sees_the_labels(hidden: Sequence[int], kind: str) -> None:
    model, h = model_of(hidden, kind), drawn(N, FEATURES)
    model.fit(model.predict(h, labels_of(kind)), drawn(N, FEATURES, seed=12), LR)
    model.fit(model.predict(h, labels_of(kind)), drawn(N, FEATURES, seed=12), LR)
    one, other = (model.predict(h, labels_of(kind, seed)).value for seed in (3, 13))
    assert np.abs(one - other).max() > 1e-4


@pytest.mark.parametrize("hidden", HIDDEN)
def test_an_unconditioned_model_does_not_see_the_labels(hidden: Sequence[int]) -> None:
    model, h = model_of(hidden), drawn(N, FEATURES)
    model.fit(model.predict(h, labels_of("classes")), drawn(N, FEATURES, seed=12), LR)
    one, other = (model.predict(h, labels_of("classes", seed)).value for seed in (3, 13))
    assert one.any()
    assert_array_equal(one, other)


def test_what_a_model_learns_does_not_depend_on_the_batch_size() -> None:
    h, truth, labels = drawn(N, FEATURES), drawn(N, FEATURES, seed=14), labels_of("classes")
    small, large = model_of((), "classes"), model_of((), "classes")
    small.fit(small.predict(h, labels), truth, LR)
    twice = [np.concatenate((each, each)) for each in (h, truth)]
    large.fit(large.predict(twice[0], np.concatenate((labels, labels))), twice[1], LR)
    assert_allclose(large.stack.parameters, small.stack.parameters, rtol=1e-12)


def test_the_model_comes_to_guess_the_gradient_of_the_summed_loss() -> None:
    """Squared error of h V: its gradient, h V Vᵀ - Y Vᵀ, is linear in h and the label."""
    v, rng = drawn(FEATURES, CLASSES, seed=15), np.random.default_rng(16)
    model = model_of((), "classes", optimizer=partial(Adam, dtype="f8"))

    def summed(h: Floats, labels: Labels) -> float:
        return LOSSES["squared-error"](h @ v, labels).loss

    for step in range(700):
        h, labels = rng.normal(size=(N, FEATURES)), rng.integers(0, CLASSES, N)
        truth = LOSSES["squared-error"](h @ v, labels).gradient @ v.T
        model.fit(model.predict(h, labels), truth, 0.03 if step < 500 else 0.003)
    guess = model.predict(h, labels).value
    for i in np.ndindex(h.shape):
        moved = np.zeros_like(h)
        moved[i] = 1e-3
        slope = (summed(h + moved, labels) - summed(h - moved, labels)) / 2e-3
        assert guess[i] == pytest.approx(slope, rel=0.02, abs=0.05)


def test_the_gradient_that_the_top_layer_sends_is_that_of_the_summed_loss() -> None:
    layers = (LayerConfig(("linear 4",)), LayerConfig(("linear 3",)))
    info = DatasetInfo((5,), "<f4", 1.0, CLASSES, labelled=True, examples=64, tests=8)
    top = build_layer(Pipeline(data=DataConfig(name="digits", batch=N), layer=layers), info, 1)
    x, labels = drawn(N, 4).astype("f4"), labels_of("classes")
    weight, bias = (array.copy() for array in top.stack.named().values())
    top.receive("layer0", Activation(1, 1, True, x, labels))
    (sent,) = top.work()
    scores = np.exp(x @ weight + bias)
    summed = (scores / scores.sum(axis=1, keepdims=True) - np.eye(CLASSES)[labels]) @ weight.T
    assert sent.to == "layer0"
    assert isinstance(sent.message, Gradient)
    assert_allclose(np.asarray(sent.message.gradient, "f8"), summed, rtol=1e-4, atol=1e-6)
