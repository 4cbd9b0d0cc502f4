"""Images: their modules, their gradient models, and whole convolutional networks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from cli import run
from protocol import DataConfig, LayerConfig, Pipeline, SpecError, SyntheticConfig, TrainConfig
from protocol.dataset_info import DatasetInfo
from workers.assembly.build import build_gradient_model
from workers.nn import Conv, Floats, Labels, Module, Shape, module, product
from workers.nn.optim import Adam, Sgd
from workers.rules.synthetic import SyntheticGradient, model_modules
from workers.tools.check import LayerPlan, plan_layers

IMAGE = (9, 8, 3)
INFO = DatasetInfo(IMAGE, "|u1", 1 / 255, 10, labelled=True, examples=64, tests=8)
CONV = "'conv <channels> <kernel> [stride <n>] [pad <n>|same]'"
POOL = "'maxpool <size> [stride <n>] [pad <n>]'"
SIZES: dict[str, Shape] = {
    "conv 64 5": (5, 4, 64),
    "conv 64 5 stride 2": (3, 2, 64),
    "conv 64 5 pad 2": (9, 8, 64),
    "conv 64 5 stride 2 pad 2": (5, 4, 64),
    "conv 64 5 pad 2 stride 2": (5, 4, 64),
    "conv 7 4 pad same": (9, 8, 7),
    "conv 7 3 stride 1 pad same": (9, 8, 7),
    "conv 1 8": (2, 1, 1),
    "maxpool 3 stride 2": (4, 3, 3),
    "avgpool 2": (4, 4, 3),
    "maxpool 3 pad 1": (3, 3, 3),
    "dropout 0.5": IMAGE,
    "dropout 0": IMAGE,
    "standardise": IMAGE,
}
WRONG = (
    "conv",
    "conv 64",
    "conv 64 5 2",
    "conv 64 5 stride",
    "conv 64 5 strid 2",
    "conv 64 5 stride 2 stride 2",
    "conv stride 2 64 5 5 5",
)
MISTAKES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(WRONG, ("should be", CONV)),
    "conv 64 5 stride 0": ("positive whole number", CONV),
    "conv 0 5": ("positive whole number", CONV),
    "conv 64 2.5": ("whole number", CONV),
    "conv 64 5 pad -1": ("whole number", CONV),
    "conv 64 5 pad all": ("whole number", CONV),
    "conv 64 5 stride 2 pad same": ("stride 1", CONV),
    "conv 64 9": ("window of 9", "side of 8", CONV),
    "conv 64 13 pad 2": ("window of 13", "side of 12", CONV),
    "maxpool": ("should be", POOL),
    "maxpool 2 pad same": ("whole number", POOL),
    "maxpool 9": ("window of 9", "side of 8", POOL),
    "maxpool 2 pad 2": ("half the window", POOL),
    "maxpool 2 stride 0": ("positive whole number", POOL),
    "dropout": ("should be", "'dropout <fraction>'"),
    **{f"dropout {n}": ("fraction in [0, 1)",) for n in ("1", "-0.5", "50%", "1e-1", "nan", ".")},
    "standardise 1": ("should be 'standardise'",),
}


@pytest.mark.parametrize("text", SIZES)
def test_a_module_has_the_output_shape_of_its_text(text: str) -> None:
    assert module(text, IMAGE, "k").output == SIZES[text]


@pytest.mark.parametrize("text", MISTAKES)
def test_a_wrong_module_is_refused_with_its_key_and_usage(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        module(text, IMAGE, "layer[0].modules[1]")
    message = str(caught.value)
    assert message.startswith(f"layer[0].modules[1]: {text!r}")
    assert all(part in message for part in MISTAKES[text])


@pytest.mark.parametrize("text", ["conv 4 1", "maxpool 1", "avgpool 1"])
@pytest.mark.parametrize("shape", [(9,), (2, 2, 2, 2)])
def test_a_shape_that_is_not_an_image_is_refused(text: str, shape: Shape) -> None:
    with pytest.raises(SpecError, match=r"^k: .* an image .* is needed, not \(.*usage: "):
        module(text, shape, "k")


def test_initial_weights_have_the_range_of_pytorch() -> None:
    made = Conv(IMAGE, 50, 5).initial(np.random.default_rng(0))
    bound = (5 * 5 * 3) ** -0.5
    assert bound * 0.99 < np.abs(made["weight"]).max() <= bound
    assert np.abs(made["bias"]).max() <= bound
    assert not any(each.any() for each in Conv(IMAGE, 5, 5, zero=True).initial(rng()).values())


@pytest.mark.parametrize("length", [26, 801, 3000])
@pytest.mark.parametrize("columns", [1, 32, 33])
@pytest.mark.parametrize("rows", [0, 11, 48, 97, 100])
@pytest.mark.parametrize("turned", [False, True])
def test_a_split_product_equals_the_product(
    length: int, columns: int, rows: int, turned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = rng().integers(-9, 9, (length, rows) if turned else (rows, length)).astype("f4")
    left = left.T if turned else left
    right = rng().integers(-9, 9, (length, columns)).astype("f4")
    for small in (False, True):
        monkeypatch.setattr(product, "small_products_need_no_copy", lambda small=small: small)
        out = np.full((rows, columns), np.nan, "f4")
        product.multiply(left, right, out)
        assert_array_equal(
            out, left @ right
        )  # exact: the sums of integers do not depend on the order


@pytest.mark.parametrize("columns", [3, 32, 33])
def test_a_product_with_few_columns_is_split_by_rows(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[Shape] = []

    def matmul(left: Floats, right: Floats, out: Floats) -> None:
        shapes.append(left.shape)
        np.matmul(left, right, out=out)

    monkeypatch.setattr(product, "small_products_need_no_copy", lambda: True)
    monkeypatch.setattr(product, "np", SimpleNamespace(matmul=matmul))
    left, right = np.ones((97, 26), "f4"), np.ones((26, columns), "f4")
    product.multiply(left, right, np.empty((97, columns), "f4"))
    assert shapes == ([(2, 48, 26), (1, 26)] if columns == 32 else [(97, 26)])


@pytest.mark.parametrize(("architecture", "small"), [("SkylakeX", True), ("Haswell", False)])
def test_small_products_need_no_copy_on_avx512(
    architecture: str, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(product, "architectures", lambda: {"", architecture})
    product.small_products_need_no_copy.cache_clear()
    assert product.small_products_need_no_copy() is small


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def forms(made: Sequence[Module]) -> list[tuple[str, Shape]]:
    return [(each.kind, each.output) for each in made]


def test_a_gradient_model_of_images_consists_of_convolutions() -> None:
    made = model_modules((4, 6, 8), 10, (16,), 3)
    hidden = (4, 6, 16)
    names = [("conv", hidden), ("batchnorm", hidden), ("relu", hidden), ("conv", (4, 6, 8))]
    assert forms(made) == names
    assert made[0].parameters["weight"] == (3, 3, 18, 16)
    assert forms(model_modules((4, 6, 8), 10, (), 3)) == [("conv", (4, 6, 8))]
    assert forms(model_modules((4, 6), 10, (16,), 3))[-1] == ("linear", (24,))


def test_the_kernel_size_is_that_of_the_pipeline() -> None:
    layers = (LayerConfig(("conv 4 3",)), LayerConfig(("linear 10",)))
    for kernel in (1, 7):
        synthetic = SyntheticConfig(kernel=kernel)
        pipeline = Pipeline(data=DataConfig(name="digits"), synthetic=synthetic, layer=layers)
        model = build_gradient_model(pipeline, INFO, (7, 6, 4), 0)
        assert model.stack.modules[0].parameters["weight"] == (kernel, kernel, 14, 4)


@pytest.mark.parametrize("kernel", [0, 2, -1])
def test_an_even_kernel_is_refused(kernel: int) -> None:
    with pytest.raises(SpecError, match=r"^synthetic\.kernel: "):
        SyntheticConfig(kernel=kernel)


@pytest.mark.parametrize("labels", [np.array([2, 0]), np.array([[0.1, 0.2, 0.7], [1, 2, 3]])])
def test_labels_are_joined_as_constant_planes(labels: Labels) -> None:
    model = SyntheticGradient((2, 3, 4), 3, (5,), 3, rng(), partial(Sgd, momentum=0.0), "f8")
    h = rng().normal(size=(2, 2, 3, 4))
    prediction = model.predict(h, labels)
    rows = np.eye(3)[labels] if labels.ndim == 1 else labels
    assert isinstance(prediction.x, np.ndarray)
    assert_array_equal(prediction.x[..., :4], h)
    assert_array_equal(prediction.x[..., 4:], np.broadcast_to(rows[:, None, None], (2, 2, 3, 3)))
    assert prediction.value.shape == h.shape
    assert not prediction.value.any()


def test_a_gradient_that_is_a_convolution_is_learned() -> None:
    model = SyntheticGradient((4, 5, 2), 3, (), 3, rng(), partial(Adam, dtype="f8"), "f8")
    target = Conv((4, 5, 2), 2, 3, pad="same")
    p = target.initial(rng())
    by_class = rng().normal(size=(3, 2))
    draws = rng()
    for step in range(500):
        h, labels = draws.normal(size=(16, 4, 5, 2)), draws.integers(0, 3, 16)
        wanted: Floats = target.forward(p, h, train=True)[0] + by_class[labels][:, None, None]
        prediction = model.predict(h, labels)
        model.fit(prediction, wanted, 0.03 if step < 350 else 0.003)
    inside = (slice(None), slice(1, -1), slice(1, -1))
    assert_allclose(prediction.value[inside], wanted[inside], atol=0.05)


LAYERS = (
    LayerConfig(("standardise", "conv 8 3 pad same", "batchnorm", "relu", "maxpool 3 stride 2")),
    LayerConfig(("conv 8 3 stride 2 pad 1", "batchnorm", "relu", "dropout 0.1", "flatten")),
    LayerConfig(("linear 10",)),
)


def plans(*layers: LayerConfig, rule: str = "cdni") -> list[LayerPlan]:
    return plan_layers(
        Pipeline(rule=rule, data=DataConfig(name="digits", batch=32), layer=layers), INFO
    )


def test_check_counts_the_work_of_convolutions_at_every_window() -> None:
    first, second, top = plans(*LAYERS)
    assert [plan.output for plan in (first, second, top)] == [(4, 3, 8), (32,), (10,)]
    assert first.parameters == 3 * 3 * 3 * 8 + 8 + 2 * 8
    assert first.synthetic_parameters == 5 * 5 * 18 * 8 + 8
    assert first.work == 72 * first.parameters + 12 * first.synthetic_parameters
    assert second.work == 4 * second.parameters + second.synthetic_parameters
    assert top.work == top.parameters


def test_check_counts_the_memory_of_intermediate_results() -> None:
    small, large = (
        plans(LayerConfig((f"conv {n} 3 pad same", "maxpool 8", "flatten")), LAYERS[-1])
        for n in (8, 800)
    )
    growth = 32 * 72 * 792 * 4 / (1 << 20)
    assert growth < large[0].memory_mb - small[0].memory_mb < 4 * growth


@pytest.mark.parametrize("rule", ["backprop", "dni", "cdni"])
def test_a_network_of_convolutions_learns(rule: str, tmp_path: Path) -> None:
    pipeline = Pipeline(
        rule=rule,
        data=DataConfig(name="digits", batch=32),
        train=TrainConfig(steps=150, schedule="lockstep", lr=3e-3),
        synthetic=SyntheticConfig(kernel=3),
        layer=LAYERS,
    )
    summaries = [
        run(pipeline, engine="inline", run_dir=tmp_path / str(i)).summary for i in range(2)
    ]
    assert summaries[0]["outcome"] == "completed"
    assert float(str(summaries[0]["test_error"])) < 30
    assert summaries[0]["train_loss"] == summaries[1]["train_loss"]
