"""Notes on inputs and labels: given for arrays that are probably a mistake, and for no others."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocol import Data, Layer, Pipeline, SpecError, Train
from protocol.facts import Facts
from tests.data_help import Array, arrays, refusal, saved
from workers.build import facts_of
from workers.data import Dataset, load
from workers.fit import layer_modules, notes

pytestmark = pytest.mark.usefixtures("own_folders")
RNG = np.random.default_rng(5)


def loaded(folder: Path, x: Array | None = None, y: Array | None = None) -> Dataset:
    """A data set of `x` and `y`, of which the last third is the test set."""
    x = RNG.standard_normal((60, 4)) if x is None else x
    y = np.arange(60) % 3 if y is None else y
    return load(
        path=saved(folder, arrays(x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:]))
    )


def net(*modules: str, **train: Any) -> Pipeline:
    return Pipeline(data=Data(path="x", batch=4), train=Train(**train), layer=(Layer(modules),))


def refused(pipeline: Pipeline, facts: Facts) -> str:
    with pytest.raises(SpecError) as caught:
        layer_modules(pipeline, facts)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Inputs

PIXELS = RNG.integers(0, 256, (60, 8, 8, 3))
PIXELS[0].flat[:2] = 0, 255

LARGE = {
    "float pixels": (PIXELS.astype("f4"), "divide them by 255, or save them as uint8"),
    "grey float pixels": (PIXELS[..., 0].astype("f8"), "divide them by 255, or save them as uint8"),
    "rows of float pixels": (PIXELS[..., 0].reshape(60, 64).astype("f4"), "divide them by 255"),
    "16 bits": (PIXELS * 257.0, "from 0 to 65535, which are not scaled: divide them"),
    "digits": (
        PIXELS // 16 * 1.0,
        "from 0 to 15, which are not scaled: divide them by 15",
    ),
}


@pytest.mark.parametrize("name", LARGE)
def test_floats_that_are_not_scaled_give_a_note(tmp_path: Path, name: str) -> None:
    x, said = LARGE[name]
    (note,) = loaded(tmp_path, x).notes
    assert note.startswith("x_train holds floats from 0 to ")
    assert said in note


GOOD = {
    "uint8": PIXELS.astype(np.uint8),
    "int64": PIXELS,
    "uint16": (PIXELS * 257).astype(np.uint16),
    "0 to 1": PIXELS / 255,
    "-1 to 1": PIXELS / 127.5 - 1,
    "standardised": (PIXELS - PIXELS.mean()) / PIXELS.std(),
    "centred": PIXELS - 127.5,
    "features": RNG.uniform(0, 300, (60, 64)),
    "few features": RNG.integers(0, 256, (60, 4)).astype("f8"),
    "counts": RNG.poisson(90, (60, 64)).astype("f8"),
    "booleans": PIXELS > 127,
    "dark": np.zeros((60, 8, 8), np.uint8),
}


@pytest.mark.parametrize("name", GOOD)
def test_usual_inputs_give_no_note(tmp_path: Path, name: str) -> None:
    assert loaded(tmp_path, GOOD[name]).notes == ()


def test_a_test_set_that_is_not_scaled_gives_a_note(tmp_path: Path) -> None:
    x = np.concatenate([PIXELS[:40] / 255, PIXELS[40:]])
    (note,) = loaded(tmp_path, x).notes
    assert note.startswith("x_test holds floats from 0 to 255")


@pytest.mark.parametrize("largest", [1, 16, 25])
def test_small_8_bit_inputs_give_a_note(tmp_path: Path, largest: int) -> None:
    x = (PIXELS % (largest + 1)).astype(np.uint8)
    (note,) = loaded(tmp_path, x).notes
    assert f"x_train is uint8 with no number above {largest}" in note


TURNED = {"rgb": (3, 8, 9), "grey": (1, 28, 28), "rgba": (4, 32, 32)}


@pytest.mark.parametrize("name", TURNED)
@pytest.mark.parametrize("modules", [("conv 4 1", "linear 3"), ("maxpool 1",), ("batchnorm",)])
def test_channels_first_give_a_note_where_modules_see_axes(
    tmp_path: Path, name: str, modules: tuple[str, ...]
) -> None:
    shape = TURNED[name]
    data = loaded(tmp_path, RNG.standard_normal((60, *shape)))
    (note,) = notes(net(*modules), data)
    assert note.startswith(f"examples of shape {shape} look like (channels, height, width)")
    assert "numpy.moveaxis(x, 1, -1)" in note
    assert notes(net("linear 3"), data) == []
    assert notes(net("flatten", "batchnorm", "linear 3"), data) == []


@pytest.mark.parametrize(
    "shape", [(8, 9, 3), (28, 28), (28, 28, 1), (3, 4, 5), (3, 3, 3), (64, 7, 7)]
)
def test_channels_last_give_no_note(tmp_path: Path, shape: tuple[int, ...]) -> None:
    data = loaded(tmp_path, RNG.standard_normal((60, *shape)))
    assert notes(net("conv 4 1", "linear 3"), data) == []


def test_the_error_of_a_module_names_channels_first(tmp_path: Path) -> None:
    data = loaded(tmp_path, RNG.standard_normal((60, 3, 8, 8)))
    text = refused(net("conv 4 5", "linear 3"), facts_of(data))
    assert text.startswith("layer[0].modules[0]: 'conv 4 5'")
    assert "look like (channels, height, width)" in text


# Labels

Y = np.arange(60) % 3
ODD = {
    "from 1": (
        Y + 1,
        "1, 2, 3",
        "save y_train - 1 and y_test - 1",
        "labels start at 1 and go up to 3",
    ),
    "from 5": (
        Y + 5,
        "5, 6, 7",
        "save y_train - 5 and y_test - 5",
        "labels start at 5 and go up to 7",
    ),
    "two": (
        (Y > 0) * 1_000_000,
        "0, 1000000",
        "numpy.unique(y, return_inverse=True)[1]",
        "labels are not consecutive (0, 1000000)",
    ),
    "gaps": (
        Y * 7,
        "0, 7, 14",
        "numpy.unique(y, return_inverse=True)[1]",
        "labels are not consecutive (0, 7, 14)",
    ),
    "many": (
        np.arange(60) % 12 * 3,
        "0, 3, 6, 9, 12, 15, 18, 21, 24, 27 and 2 more",
        "numpy.unique(y, return_inverse=True)[1]",
        "labels are not consecutive (0, 3, 6, 9, 12, 15, 18, 21, 24, 27, … 33)",
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_labels_that_are_not_numbered_from_0_give_a_note_and_a_remedy(
    tmp_path: Path, name: str
) -> None:
    y, values, mend, refusal_says = ODD[name]
    data = loaded(tmp_path, y=y)
    (note,) = data.notes
    assert note.startswith(f"the labels are {values}, not all of 0 to {y.max()};")
    assert mend in note
    text = refused(net("linear 2"), facts_of(data))
    assert refusal_says in text
    assert mend in text
    count = len(np.unique(y))
    assert f"number the {count} classes from 0" in text
    assert f"'linear {count}'" in text
    assert f"linear {data.classes}'" not in text or count == data.classes


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_labels_from_0_give_no_note(tmp_path: Path, classes: int) -> None:
    data = loaded(tmp_path, y=np.arange(60) % classes)
    assert data.notes == ()
    text = refused(net("linear 1"), facts_of(data))
    assert text.endswith(f"labels go up to {classes - 1}; end it with 'linear {classes}'")


@pytest.mark.parametrize("unknown", [1, 2])
def test_classes_of_the_test_set_alone_give_a_note(tmp_path: Path, unknown: int) -> None:
    y = np.arange(60) % 2
    y[50 : 50 + unknown] = np.arange(2, 2 + unknown)
    (note,) = loaded(tmp_path, y=y).notes
    labels = ", ".join(str(label) for label in range(2, 2 + unknown))
    assert note.startswith(f"no training example has the label {labels}, which test examples have")


SHAPED = {
    "a row": (Y[None], "y_train: shape (1, 40) is one row; save y.reshape(-1), of shape (40,)"),
    "a row of floats": (Y[None] * 1.0, "y_train: shape (1, 40) is one row"),
    "one-hot": (np.eye(3, dtype=int)[Y], "its rows are one-hot; save class labels: argmax(axis=1)"),
    "text": (np.array(["cat", "dog", "owl"])[Y], "text cannot be trained on; number the classes"),
    "signs": ((Y > 0) * 2 - 1, "holds the label -1; number the classes from 0, as numpy.unique"),
}


@pytest.mark.parametrize("name", SHAPED)
def test_the_error_for_labels_of_another_form_says_how_to_save_them(
    tmp_path: Path, name: str
) -> None:
    y, said = SHAPED[name]
    row = y.shape[0] == 1
    train, test = (y[:, :40], y[:, 40:]) if row else (y[:40], y[40:])
    x = RNG.standard_normal((60, 4))
    content = arrays(x_train=x[:40], y_train=train, x_test=x[40:], y_test=test)
    assert said in refusal(partial(load, path=saved(tmp_path, content)))


@pytest.mark.parametrize("key", ["train", "test"])
def test_the_error_for_examples_along_the_last_axis_names_moveaxis(
    tmp_path: Path, key: str
) -> None:
    content = arrays()
    content[f"x_{key}"] = np.moveaxis(np.zeros((9, 5, 5), np.uint8), 0, -1)
    content[f"y_{key}"] = np.zeros(9, np.uint8)
    text = refusal(partial(load, path=saved(tmp_path, content)))
    assert f"x_{key} has 5 examples but y_{key} has 9" in text
    assert f"numpy.moveaxis(x_{key}, -1, 0)" in text


@pytest.mark.parametrize(
    ("y", "mend"),
    [
        (Y * 1.0, "y.astype('int64')"),
        (Y[:, None] * 1.0, "y.astype('int64')"),
        (Y.astype("f2"), "y.astype('int64')"),
        (np.eye(3)[Y], "y.argmax(axis=1)"),
        (np.eye(3, dtype=bool)[Y], "y.argmax(axis=1)"),
    ],
)
@pytest.mark.parametrize("outputs", [1, 3, 10])
def test_float_labels_are_refused_before_the_width_of_the_last_layer(
    tmp_path: Path, y: Array, mend: str, outputs: int
) -> None:
    facts = facts_of(loaded(tmp_path, y=y))
    text = refused(net(f"linear {outputs}"), facts)
    assert text.startswith("train.loss: cross-entropy needs class labels, integers")
    assert mend in text
    layer_modules(net(f"linear {facts.classes}", loss="squared-error"), facts)
    wide = refused(net("linear 7", loss="squared-error"), facts)
    assert wide.endswith(f"7 outputs for {facts.classes} target values")


@pytest.mark.parametrize(("low", "high", "odd"), [(0, 1, False), (-1, 1, True), (0, 9, True)])
def test_targets_outside_0_to_1_give_a_note_with_binary_cross_entropy(
    tmp_path: Path, low: int, high: int, odd: bool
) -> None:
    y = np.where(np.eye(3)[Y] > 0, high, low) * 1.0
    data = loaded(tmp_path, y=y)
    found = notes(net("linear 3", loss="binary-cross-entropy"), data)
    assert [f"y_train holds {low} to {high}, but binary" in note for note in found] == [True] * odd
    assert notes(net("linear 3", loss="squared-error"), data) == []


def test_facts_without_labels_give_the_plain_error() -> None:
    facts = Facts((4,), "<f4", 1.0, classes=3, labelled=True, examples=40, tests=20)
    assert refused(net("linear 2"), facts).endswith("labels go up to 2; end it with 'linear 3'")
    with pytest.raises(SpecError, match="distinct: 0 is less than 1"):
        replace(facts, labels=(1,))


# The summary


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (PIXELS[..., 0], Y, "own: 40 training and 20 test examples of 8x8, 3 classes"),
        (PIXELS, Y * 0, "own: 40 training and 20 test examples of 8x8x3, 1 class"),
        (None, Y * 1.0, "own: 40 training and 20 test examples of 4, 1 target value"),
        (None, np.eye(3)[Y], "own: 40 training and 20 test examples of 4, 3 target values"),
        (None, Y + 1, "own: 40 training and 20 test examples of 4, 3 classes"),
        (None, Y * 1000, "own: 40 training and 20 test examples of 4, 3 classes"),
        (None, Y * 0 + 7, "own: 40 training and 20 test examples of 4, 1 class"),
    ],
)
def test_the_summary_counts_examples_and_classes(
    tmp_path: Path, x: Array | None, y: Array, said: str
) -> None:
    data = loaded(tmp_path, x, y)
    assert data.summary == said
    assert f"own: {facts_of(data).summary}" == said


def test_the_summary_of_the_digits_and_the_sums() -> None:
    assert (
        load("digits").summary == "digits: 1,437 training and 360 test examples of 8x8, 10 classes"
    )
    assert load("digits").notes == load("addition").notes == ()
    assert load("addition").summary == (
        "addition: 100 training and 100 test examples of 16, 8 target values"
    )
