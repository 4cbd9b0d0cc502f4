"""A user's arrays are converted for training, or refused with an error of one line."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from protocol.errors import DataError
from tests.data_help import (
    Array,
    arrays,
    refusal,
    saved,
)
from workers.data import Dataset, load

pytestmark = pytest.mark.usefixtures("own_folders")


def loaded(folder: Path, **changed: Array) -> Dataset:
    return load(path=saved(folder, arrays(**changed)))


def test_integer_inputs_keep_their_dtype_and_labels_become_int64(tmp_path: Path) -> None:
    own = loaded(tmp_path)
    assert (own.name, own.shape, own.classes, own.scale) == ("own", (2, 2), 4, 1 / 255)
    assert own.x_train.dtype == np.uint8
    np.testing.assert_array_equal(own.x_train, arrays()["x_train"])
    assert own.y_train.dtype == np.int64
    np.testing.assert_array_equal(own.y_test, [3, 0])


@pytest.mark.parametrize(
    ("stored", "kept", "scale"),
    [("u1", "u1", 1 / 255), ("?", "u1", 1.0), ("i1", "i1", 1 / 128), (">i2", "i2", 1 / 128)]
    + [(kind, "f4", 1.0) for kind in ("f2", "f4", ">f8")],
)
def test_inputs_keep_their_width_and_have_a_scale(
    tmp_path: Path, stored: str, kept: str, scale: float
) -> None:
    x = np.array([[-128, 1], [0, 1], [1, 1], [0, 0], [2, 3], [5, 7]]).astype(stored)
    own = loaded(tmp_path, x_train=x, x_test=x[:2])
    assert own.x_train.dtype == own.x_test.dtype == np.dtype(kept)
    np.testing.assert_array_equal(own.x_train, x)
    assert own.scale == scale


def test_all_zero_integers_have_the_scale_one(tmp_path: Path) -> None:
    x = np.zeros((6, 2), dtype=np.int16)
    assert loaded(tmp_path, x_train=x, x_test=x[:2]).scale == 1.0


def test_a_column_of_integers_is_labels(tmp_path: Path) -> None:
    own = loaded(tmp_path, y_train=np.array([[0], [1], [2], [0], [1], [2]]))
    np.testing.assert_array_equal(own.y_train, [0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize(("tail", "width"), [((), 1), ((1,), 1), ((3,), 3)])
def test_floats_are_targets_of_their_width(
    tmp_path: Path, tail: tuple[int, ...], width: int
) -> None:
    own = loaded(tmp_path, y_train=np.ones((6, *tail)), y_test=np.ones((2, *tail)))
    assert own.y_train.shape == (6, width)
    assert own.y_test.dtype == np.float32
    assert own.classes == width


def test_rows_of_booleans_are_multi_label_targets(tmp_path: Path) -> None:
    own = loaded(tmp_path, y_train=np.eye(6, 3, dtype=bool), y_test=np.eye(2, 3, dtype=bool))
    np.testing.assert_array_equal(own.y_test, np.eye(2, 3, dtype=np.float32))
    assert own.classes == 3


WRONG: list[tuple[dict[str, Array], str]] = [
    ({"y_train": np.zeros(5, int)}, "x_train has 6 examples but y_train has 5"),
    ({"x_test": np.zeros((2, 4), np.uint8)}, "x_train has shape (2, 2) but one of x_test (4,)"),
    ({"x_test": np.zeros((2, 2, 2))}, "x_train is uint8 but x_test float64"),
    ({"x_test": np.zeros((2, 2, 2), bool)}, "x_train is uint8 but x_test bool"),
    ({"y_test": np.zeros(2)}, "y_train holds class labels but y_test float targets of width 1"),
    ({"y_train": np.array([0, 1, -1, 0, 0, 0])}, "y_train: holds the label -1"),
    ({"y_train": np.full(6, 2**64 - 1, np.uint64)}, "y_train: holds the label 184467440737"),
    ({"y_train": np.zeros((6, 2), int)}, "y_train: integers of shape (6, 2)"),
    ({"y_train": np.zeros((6, 2, 2))}, "y_train: shape (6, 2, 2) has too many axes"),
    ({"x_train": np.zeros((0, 2, 2), np.uint8)}, "x_train: shape (0, 2, 2) holds no examples"),
    ({"x_train": np.array(1)}, "x_train: shape () holds no examples"),
    ({"x_train": np.zeros(6, np.uint8)}, "x_train: shape (6,) has no feature axis"),
    ({"x_train": np.zeros((6, 2), complex)}, "x_train: dtype complex128"),
    ({"x_train": np.full((6, 2), "a")}, "x_train: dtype <U1"),
    ({"x_train": np.zeros((6, 2), "M8[s]")}, "x_train: dtype datetime64[s]"),
    ({"x_train": np.full((6, 2), None)}, "x_train: holds Python objects"),
    ({"x_train": np.array([[0.0]] * 5 + [[np.nan]])}, "x_train: example 5 (and 0 more) holds NaN"),
    ({"x_train": np.full((6, 2), 1e300)}, "x_train: example 0 (and 5 more)"),
    ({"y_train": np.full(6, -np.inf)}, "y_train: example 0 (and 5 more)"),
]


@pytest.mark.parametrize(("changed", "expected"), WRONG, ids=[expected for _, expected in WRONG])
def test_an_array_that_cannot_be_trained_on_is_refused(
    tmp_path: Path, changed: dict[str, Array], expected: str
) -> None:
    text = refusal(lambda: loaded(tmp_path, **changed))
    assert text.startswith(f"{tmp_path / 'own.npz'}: ")
    assert expected in text


def test_the_error_for_a_missing_array_proposes_a_similar_one(tmp_path: Path) -> None:
    content = arrays()
    content["x_tset"] = content.pop("x_test")
    text = refusal(lambda: load(path=saved(tmp_path, content)))
    assert "the array 'x_test' is missing; did you mean 'x_tset'?" in text
    content.pop("x_tset")
    text = refusal(lambda: load(path=saved(tmp_path, content)))
    assert text.endswith(
        "; it holds x_train uint8 (6, 2, 2), y_train uint8 (6,), y_test uint8 (2,)"
    )
    assert "holds no arrays" in refusal(lambda: load(path=saved(tmp_path, {})))


def test_a_damaged_npz_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, arrays())
    good = path.read_bytes()
    outcomes = set()
    for at in range(0, len(good), 7):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :])
        try:
            load(path=path)
            outcomes.add("loaded")  # a byte that nothing reads, such as a date
        except DataError:
            outcomes.add("refused")
    assert "refused" in outcomes


def test_an_array_of_a_petabyte_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, {key: value for key, value in arrays().items() if key != "x_train"})
    header = io.BytesIO()
    claim = {"descr": "|u1", "fortran_order": False, "shape": (2**25, 2**25)}
    np.lib.format.write_array_header_1_0(header, claim)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x_train.npy", header.getvalue())
    assert "x_train: cannot be read" in refusal(lambda: load(path=path))
