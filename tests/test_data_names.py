"""The error for a missing array proposes an array whose name means the same."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.data_help import Array, arrays, refusal, saved
from workers.data import load
from workers.data.listing import listed
from workers.data.names import SPLITS, meaning, meant, split_of

pytestmark = pytest.mark.usefixtures("own_folders")


MEANINGS = {
    **dict.fromkeys(("X_train", "train_x", "trainX", "x_tr", "train_images"), ("x", "train")),
    **dict.fromkeys(("train_data", "imgs_train", "TRAIN_FEATURES"), ("x", "train")),
    **dict.fromkeys(("Y_train", "train_labels", "trainLabels", "y_tr"), ("y", "train")),
    **dict.fromkeys(("x_val", "test_images", "X_dev", "x_te"), ("x", "test")),
    **dict.fromkeys(("y_valid", "test_labels", "testTargets"), ("y", "test")),
    **dict.fromkeys(("x", "X", "images", "data", "inputs"), ("x", None)),
    **dict.fromkeys(("y", "labels", "target", "classes"), ("y", None)),
    **dict.fromkeys(("arr_0", "weights", "mean", "Xtest"), (None, None)),
}


@pytest.mark.parametrize("name", MEANINGS)
def test_a_name_means_inputs_or_targets_of_a_split(name: str) -> None:
    assert meaning(name) == MEANINGS[name]


def renamed(**names: str) -> dict[str, Array]:
    return {names.get(key, key): array for key, array in arrays().items() if names.get(key, key)}


@pytest.mark.parametrize(
    "name", ["X_train", "train_x", "x", "images", "train_images", "data", "xtrain", "x_trian"]
)
@pytest.mark.parametrize("targets", ["y_train", "Y_train", "train_labels"])
def test_inputs_by_another_name_are_proposed_and_never_the_targets(
    tmp_path: Path, name: str, targets: str
) -> None:
    content = renamed(x_train=name, y_train=targets)
    text = refusal(partial(load, path=saved(tmp_path, content)))
    assert f"did you mean {name!r}" in text
    assert f"{targets!r} for 'x_train'" not in text
    assert f"it holds {name} uint8 (6, 2, 2), {targets} uint8 (6,)" in text


@pytest.mark.parametrize(
    ("others", "best"),
    [
        (("val_images", "test_images"), "test_images"),
        (("test_images", "val_images"), "test_images"),
        (("x_dev", "X_valid", "images_testing"), "images_testing"),
        (("x_eval", "x_validation", "x_val"), "x_val"),
        (("x_te", "x_dev"), "x_dev"),
        (("x_te", "weights"), "x_te"),
    ],
)
def test_the_best_name_of_a_split_is_proposed(others: tuple[str, ...], best: str) -> None:
    assert meant("x_test", ("x_train", *others)) == best
    assert meant("x_test", ("x_train", *reversed(others))) == best


@pytest.mark.parametrize("split", SPLITS)
def test_arrays_and_folders_have_the_same_names_of_splits(split: str) -> None:
    for base in SPLITS[split]:
        assert meaning(f"x_{base}") == ("x", split)
        for name in (base, base.upper(), f"{base}_set", f"{base.title()} Set", f"{base}-set"):
            assert split_of(name) == split
    for name in ("set", "tr", "te", "trainer", "tested", "train.tar", ""):
        assert split_of(name) is None


@pytest.mark.parametrize("names", [("Y_train", ""), ("train_labels", ""), ("y", "labels")])
def test_targets_are_never_proposed_for_missing_inputs(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    extra = {name: arrays()["y_train"] for name in names if name}
    text = refusal(partial(load, path=saved(tmp_path, renamed(x_train="") | extra)))
    assert "the array 'x_train' is missing; it holds y_train" in text


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"x": 0, "y": 0}, "split 'x' and 'y' into training and test arrays"),
        ({"data": 0, "target": 0}, "split 'data' and 'target' into training and test arrays"),
        ({"arr_0": 0, "arr_1": 0}, "arrays need their names: numpy.savez_compressed(path, x_train"),
        (
            {"X_train": 0, "X_test": 0},
            "did you mean 'X_train' for 'x_train', 'X_test' for 'x_test'",
        ),
        ({"weights": 0}, "are missing; it holds weights int64 ()"),
        ({"x_train": 0, "y_train": 0}, "split some examples off 'x_train' and 'y_train' for them"),
        ({"data": None}, "'data' holds Python objects, which are never loaded: numpy.savez"),
        ({"x": None, "y": 0}, "'x' holds Python objects, which are never loaded: numpy.savez"),
    ],
)
def test_the_error_says_how_to_split_or_name_arrays(
    tmp_path: Path, content: dict[str, int | None], expected: str
) -> None:
    made = {name: np.array(value) for name, value in content.items()}
    assert expected in refusal(partial(load, path=saved(tmp_path, made)))


@pytest.mark.parametrize("count", [11, 500, 3000])
def test_ten_of_many_arrays_are_named(tmp_path: Path, count: int) -> None:
    content: dict[str, Array] = {f"a{i}": np.zeros(1) for i in range(count)}
    text = refusal(partial(load, path=saved(tmp_path, content)))
    assert text.endswith(f"a9 float64 (1,) and {count - 10:,} more")
    assert len(text) < 600


@pytest.mark.parametrize(
    ("count", "text"), [(0, ""), (1, "0"), (3, "0, 1, 2"), (5, "0, 1, 2 and 2 more")]
)
def test_a_list_says_how_many_more_there_are(count: int, text: str) -> None:
    assert listed(range(count), 3) == text
