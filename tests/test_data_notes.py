"""Notes on inputs and labels are given for probable mistakes and for no other arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.data_help import Array
from tests.data_nets import RNG, Y, loaded, net, refused
from workers.assembly.build import dataset_info
from workers.assembly.compatibility import data_notes
from workers.data import load

pytestmark = pytest.mark.usefixtures("own_folders")


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
    x, expected = LARGE[name]
    (note,) = loaded(tmp_path, x).notes
    assert note.startswith("x_train holds floats from 0 to ")
    assert expected in note


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
    "standardised and far": (PIXELS.clip(0, 3) - 0.1) * 20,
    "few features to 255": RNG.uniform(0, 255, (60, 50)),
    "features from 1": RNG.uniform(1, 255, (60, 64)),
    "small fractions": RNG.uniform(0, 100, (60, 64)),
    "dark": np.zeros((60, 8, 8), np.uint8),
}


@pytest.mark.parametrize("name", GOOD)
def test_usual_inputs_give_no_note(tmp_path: Path, name: str) -> None:
    assert loaded(tmp_path, GOOD[name]).notes == ()


def test_a_test_set_that_is_not_scaled_gives_a_note(tmp_path: Path) -> None:
    x = np.concatenate([PIXELS[:40] / 255, PIXELS[40:]])
    (note,) = loaded(tmp_path, x).notes
    assert note == "the numbers of x_train go up to 1, those of x_test to 255; scale both alike"


@pytest.mark.parametrize("dtype", ["u1", "i4", "f4", "f8"])
@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("rows", [False, True])
def test_splits_of_different_scales_give_a_note(
    tmp_path: Path, dtype: str, part: str, rows: bool
) -> None:
    x = PIXELS.copy()
    where = slice(0, 40) if part == "train" else slice(40, 60)
    x[where] = x[where] > 127
    (note,) = loaded(tmp_path, (x.reshape(60, -1) if rows else x).astype(dtype)).notes
    assert note.startswith(f"the numbers of x_train go up to {1 if part == 'train' else 255}, ")


@pytest.mark.parametrize("factor", [1, 2, 10, 40])
def test_splits_of_similar_scales_give_no_note(tmp_path: Path, factor: int) -> None:
    x = RNG.standard_normal((60, 4)).clip(-1, 1)
    x[0, 0] = x[-1, 0] = 1
    x[40:] *= factor
    assert loaded(tmp_path, x).notes == ()


ROWS = {
    "up to 254": PIXELS[..., 0].clip(0, 254).reshape(60, 64) * 1.0,
    "fractions": PIXELS[..., 0].reshape(60, 64) * 0.9,
    "fractions of colours": PIXELS.reshape(60, 192) * 0.95,
    "one negative pixel": np.where(np.arange(60)[:, None, None] == 7, -1.0, PIXELS[..., 0]),
    "padding": np.where(np.arange(8)[:, None] == 0, -5.0, PIXELS[..., 0]),
}


@pytest.mark.parametrize("name", ROWS)
def test_more_floats_that_are_not_scaled_give_a_note(tmp_path: Path, name: str) -> None:
    (note,) = loaded(tmp_path, ROWS[name]).notes
    assert "which are not scaled: divide them by " in note


@pytest.mark.parametrize("label", [0, 1, 7])
def test_one_class_alone_gives_a_note(tmp_path: Path, label: int) -> None:
    (note,) = loaded(tmp_path, y=Y * 0 + label).notes
    assert note == f"every example has the label {label}; there is nothing to learn"


@pytest.mark.parametrize("largest", [1, 16, 25])
def test_small_8_bit_inputs_give_a_note(tmp_path: Path, largest: int) -> None:
    x = (PIXELS % (largest + 1)).astype(np.uint8)
    (note,) = loaded(tmp_path, x).notes
    assert f"x_train is uint8 with no number above {largest}" in note


TURNED = {
    "rgb": (3, 8, 9),
    "grey": (1, 28, 28),
    "rgba": (4, 32, 32),
    "two": (2, 32, 32),
    "twelve": (12, 24, 24),
}


@pytest.mark.parametrize("name", TURNED)
@pytest.mark.parametrize("modules", [("conv 4 1", "linear 3"), ("maxpool 1",), ("batchnorm",)])
def test_channels_first_give_a_note_if_modules_depend_on_axes(
    tmp_path: Path, name: str, modules: tuple[str, ...]
) -> None:
    shape = TURNED[name]
    data = loaded(tmp_path, RNG.standard_normal((60, *shape)))
    (note,) = data_notes(net(*modules), data)
    assert note.startswith(f"examples of shape {shape} look like (channels, height, width)")
    assert "numpy.moveaxis(x, 1, -1)" in note
    assert data_notes(net("linear 3"), data) == []
    assert data_notes(net("flatten", "batchnorm", "linear 3"), data) == []


@pytest.mark.parametrize(
    "shape",
    [(8, 9, 3), (28, 28), (28, 28, 1), (3, 4, 5), (3, 3, 3), (64, 7, 7), (7, 7, 12), (12, 16, 16)],
)
def test_channels_last_give_no_note(tmp_path: Path, shape: tuple[int, ...]) -> None:
    data = loaded(tmp_path, RNG.standard_normal((60, *shape)))
    assert data_notes(net("conv 4 1", "linear 3"), data) == []


def test_the_error_of_a_module_names_channels_first(tmp_path: Path) -> None:
    data = loaded(tmp_path, RNG.standard_normal((60, 3, 8, 8)))
    text = refused(net("conv 4 5", "linear 3"), dataset_info(data))
    assert text.startswith("layer[0].modules[0]: 'conv 4 5'")
    assert "look like (channels, height, width)" in text


# The summary


@pytest.mark.parametrize(
    ("x", "y", "expected"),
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
    tmp_path: Path, x: Array | None, y: Array, expected: str
) -> None:
    data = loaded(tmp_path, x, y)
    assert data.summary == expected
    assert f"own: {dataset_info(data).summary}" == expected


def test_the_summary_of_the_digits_and_the_sums() -> None:
    assert (
        load("digits").summary == "digits: 1,437 training and 360 test examples of 8x8, 10 classes"
    )
    assert load("digits").notes == load("addition").notes == ()
    assert load("addition").summary == (
        "addition: 100 training and 100 test examples of 16, 8 target values"
    )
