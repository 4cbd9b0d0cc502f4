"""The error or note for wrongly saved labels and targets says how to save them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from protocol import SpecError
from protocol.dataset_info import DatasetInfo
from tests.data_help import Array, arrays, refusal, saved
from tests.data_nets import RNG, Y, loaded, net, refused
from workers.assembly.build import dataset_info
from workers.assembly.compatibility import data_notes, layer_modules
from workers.data import load

pytestmark = pytest.mark.usefixtures("own_folders")


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
    y, values, remedy, refusal_says = ODD[name]
    data = loaded(tmp_path, y=y)
    (note,) = data.notes
    assert note.startswith(f"the labels are {values}, not all of 0 to {y.max()};")
    assert remedy in note
    text = refused(net("linear 2"), dataset_info(data))
    assert refusal_says in text
    assert remedy in text
    count = len(np.unique(y))
    assert f"number the {count} classes from 0" in text
    assert (f"'linear {count}'" in text) == (count != 2)
    assert f"linear {data.classes}'" not in text or count == data.classes


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_labels_from_0_give_no_note(tmp_path: Path, classes: int) -> None:
    data = loaded(tmp_path, y=np.arange(60) % classes)
    assert data.notes == ()
    text = refused(net("linear 1"), dataset_info(data))
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
    "signs": (
        (Y > 0) * 2 - 1,
        "holds the label -1; number the classes from 0: save numpy.u",
    ),
}


@pytest.mark.parametrize("name", SHAPED)
def test_the_error_for_other_labels_says_how_to_save_them(tmp_path: Path, name: str) -> None:
    y, expected = SHAPED[name]
    row = y.shape[0] == 1
    train, test = (y[:, :40], y[:, 40:]) if row else (y[:40], y[40:])
    x = RNG.standard_normal((60, 4))
    content = arrays(x_train=x[:40], y_train=train, x_test=x[40:], y_test=test)
    assert expected in refusal(partial(load, path=saved(tmp_path, content)))


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
    ("y", "remedy"),
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
    tmp_path: Path, y: Array, remedy: str, outputs: int
) -> None:
    info = dataset_info(loaded(tmp_path, y=y))
    text = refused(net(f"linear {outputs}"), info)
    assert text.startswith("train.loss: cross-entropy needs class labels, integers")
    assert remedy in text
    layer_modules(net(f"linear {info.classes}", loss="squared-error"), info)
    wide = refused(net("linear 7", loss="squared-error"), info)
    values = "1 target value" if info.classes == 1 else "3 target values"
    assert f"7 outputs for {values}; end it with 'linear {info.classes}'" in wide
    assert ("y.astype('int64'), and use 'cross-entropy'" in wide) == (info.classes == 1)


@pytest.mark.parametrize(("low", "high", "odd"), [(0, 1, False), (-1, 1, True), (0, 9, True)])
def test_targets_outside_0_to_1_give_a_note_with_binary_cross_entropy(
    tmp_path: Path, low: int, high: int, odd: bool
) -> None:
    y = np.where(np.eye(3)[Y] > 0, high, low) * 1.0
    data = loaded(tmp_path, y=y)
    found = data_notes(net("linear 3", loss="binary-cross-entropy"), data)
    assert [f"y_train holds {low} to {high}, but binary" in note for note in found] == [True] * odd
    assert data_notes(net("linear 3", loss="squared-error"), data) == []


def test_dataset_info_without_labels_gives_the_general_error() -> None:
    info = DatasetInfo((4,), "<f4", 1.0, classes=3, labelled=True, examples=40, tests=20)
    assert refused(net("linear 2"), info).endswith("labels go up to 2; end it with 'linear 3'")
    with pytest.raises(SpecError, match="distinct: 0 is less than 1"):
        replace(info, labels=(1,))


@pytest.mark.parametrize(
    ("train", "test", "remedy"),
    [
        (0, 1, "save y_test - 1"),
        (1, 0, "save y_train - 1"),
        (1, 2, "save y_train - 1 and y_test - 2"),
        (0, 100, "save y_test - 100"),
    ],
)
@pytest.mark.parametrize("gap", [1, 3])
def test_splits_with_differently_numbered_classes_are_refused(
    tmp_path: Path, train: int, test: int, remedy: str, gap: int
) -> None:
    y = np.concatenate([Y[:40] * gap + train, Y[40:] * gap + test])
    text = refusal(partial(loaded, tmp_path, y=y))
    assert "y_train holds the labels " in text
    assert text.endswith(f"they are numbered differently; {remedy}")


@pytest.mark.parametrize(
    ("train", "test"), [((0, 1, 2), (0, 2)), ((0, 1), (0, 1, 2)), ((0,), (1,))]
)
def test_splits_of_other_classes_are_not_refused_as_shifted(
    tmp_path: Path, train: tuple[int, ...], test: tuple[int, ...]
) -> None:
    y = np.array([*np.resize(train, 40), *np.resize(test, 20)])
    assert len(loaded(tmp_path, y=y).y_test) == 20


WHOLE = {
    "classes": (Y * 1.0, True),
    "column": (Y[:, None].astype("f4"), True),
    "from 1": (Y + 1.0, True),
    "ages": (np.arange(60) % 20 * 3.0, True),
    "fractions": (Y / 2, False),
    "signs": (Y - 1.0, False),
    "one": (Y * 0.0, False),
    "all different": (np.arange(60) * 1.0, False),
    "one-hot": (np.eye(3)[Y], False),
    "labels": (Y, False),
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("loss", ["squared-error", "binary-cross-entropy"])
def test_class_numbers_that_are_floats_give_a_note(tmp_path: Path, name: str, loss: str) -> None:
    y, noted = WHOLE[name]
    data = loaded(tmp_path, y=y)
    found = [
        note for note in data_notes(net("linear 1", loss=loss), data) if "as target values" in note
    ]
    assert len(found) == noted
    assert all("save them as integers, y.astype('int64')" in note for note in found)
    info = dataset_info(data)
    if not info.labelled:
        assert ("y.astype('int64')" in refused(net("linear 7", loss=loss), info)) == noted


def test_zeros_and_ones_are_accepted_for_binary_cross_entropy(tmp_path: Path) -> None:
    data = loaded(tmp_path, y=(Y > 0) * 1.0)
    assert data_notes(net("linear 1", loss="binary-cross-entropy"), data) == []
    assert len(data_notes(net("linear 1", loss="squared-error"), data)) == 1


@pytest.mark.parametrize(
    ("train", "test", "remedy"),
    [
        (Y * 1.0, Y, "save y_train.astype('int64') for class labels, or y_test.astype('float32')"),
        (Y, Y * 1.0, "save y_test.astype('int64') for class labels, or y_train.astype('float32')"),
        (np.eye(3)[Y], Y, "save y_train.argmax(axis=1) for class labels"),
        (Y, np.eye(3)[Y], "save y_test.argmax(axis=1) for class labels"),
        (np.eye(3)[Y], np.eye(4)[Y], "give both the same width"),
    ],
)
def test_the_error_for_splits_with_other_targets_says_how_to_save_them(
    tmp_path: Path, train: Array, test: Array, remedy: str
) -> None:
    x = RNG.standard_normal((60, 4))
    content = arrays(x_train=x, y_train=train, x_test=x, y_test=test)
    assert remedy in refusal(partial(load, path=saved(tmp_path, content)))


@pytest.mark.parametrize("key", ["x_train", "x_test"])
@pytest.mark.parametrize("text", [["a", "b"], ["cat", "dog"], [b"1", b"2"]])
def test_the_error_for_text_inputs_does_not_mention_classes(
    tmp_path: Path, key: str, text: list[str]
) -> None:
    column = np.array(text)[Y[: len(arrays()[key])] % 2][:, None]
    error = refusal(partial(load, path=saved(tmp_path, arrays(**{key: column}))))
    assert f"{key}: dtype " in error
    assert "text cannot be trained on; save numbers" in error
    assert "classes" not in error


TURNED = {
    "images": ((12, 12, 3, 60), (1, 60), "is one row; save y.reshape(-1), of shape (60,), and nu"),
    "rows": (
        (8, 60),
        (1, 60),
        "is one row; save y.reshape(-1), of shape (60,), and num",
    ),
    "labels alone": ((60, 8), (1, 60), "is one row; save y.reshape(-1), of shape (60,)"),
    "other count": ((50, 8), (1, 60), "is one row; save y.reshape(-1), of shape (60,)"),
    "several": ((60, 8), (3, 60), "has the examples along the last axis; save y_train.T"),
    "both": ((8, 60), (3, 60), "along the last axis; save y_train.T, and numpy.moveaxis(x_train"),
}


@pytest.mark.parametrize("name", TURNED)
@pytest.mark.parametrize("dtype", ["u1", "i8"])
def test_the_error_for_both_arrays_along_the_last_axis_says_so(
    tmp_path: Path, name: str, dtype: str
) -> None:
    x, y, expected = TURNED[name]
    content = arrays(x_train=np.zeros(x, np.float32), y_train=np.resize([0, 1], y).astype(dtype))
    assert expected in refusal(partial(load, path=saved(tmp_path, content)))


@pytest.mark.parametrize("label", [-1, -7, 1 << 31, 1 << 32, 1 << 40])
def test_the_error_for_labels_out_of_range_numbers_them_in_one_array(
    tmp_path: Path, label: int
) -> None:
    text = refusal(partial(loaded, tmp_path, y=np.where(Y > 0, label, 0)))
    assert f"holds the label {label}; number the classes from 0: save numpy.unique" in text
    assert text.endswith("with y the training and test labels in one array")


@pytest.mark.parametrize("low", [1, 5, 100])
def test_a_last_layer_that_is_wide_enough_gives_no_hint(tmp_path: Path, low: int) -> None:
    text = refused(net("linear 3"), dataset_info(loaded(tmp_path, y=Y + low)))
    assert text.endswith(f"number the 3 classes from 0: save y_train - {low} and y_test - {low}")
