"""The named data sets, and the errors for wrong names."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.data_help import (
    arrays,
    refusal,
    saved,
)
from workers.data import get, list_datasets, load, names

pytestmark = pytest.mark.usefixtures("own_folders")


def test_the_digits_are_embedded_with_their_checksum() -> None:
    (entry,) = (entry for entry in list_datasets() if entry.name == "digits")
    assert entry.source == "embedded"
    assert entry.location is not None
    assert entry.location == get("digits")
    content = entry.location.read_bytes()
    assert entry.checksums == {"digits.npz": hashlib.md5(content).hexdigest()}
    assert len(content) < 60_000


def test_the_digits_are_1437_and_360_images_of_ten_classes() -> None:
    digits = load("digits")
    assert (digits.name, digits.shape, digits.classes, digits.scale) == (
        "digits",
        (8, 8),
        10,
        1 / 16,
    )
    assert digits.x_train.shape == (1437, 8, 8)
    assert digits.x_test.shape == (360, 8, 8)
    assert digits.x_train.dtype == digits.x_test.dtype == np.uint8
    assert digits.y_train.dtype == digits.y_test.dtype == np.int64
    assert (digits.x_train.min(), digits.x_train.max()) == (0, 16)


def test_each_class_of_the_digits_has_a_fifth_of_its_images_in_the_test_set() -> None:
    digits = load("digits")
    train, test = (np.bincount(y.astype(np.int64)) for y in (digits.y_train, digits.y_test))
    assert np.abs(test - (train + test) * 360 / 1797).max() < 1


# The generated sums


def test_the_sums_are_a_hundred_and_always_the_same() -> None:
    data, again = load("addition"), load("addition")
    assert (data.x_train.shape, data.y_train.shape) == ((100, 16), (100, 8))
    assert data.x_train.dtype == data.y_train.dtype == np.float32
    assert (data.name, data.classes, data.scale) == ("addition", 8, 1.0)
    assert data.x_test is data.x_train
    assert data.y_test is data.y_train
    np.testing.assert_array_equal(data.x_train, again.x_train)


def test_each_target_is_the_sum_of_its_numbers_bit_by_bit() -> None:
    data = load("addition")
    weights = 2 ** np.arange(7, -1, -1, dtype=np.float32)
    assert set(np.unique(data.x_train)) == {0, 1}
    left, right, total = (
        np.asarray(bits, np.float32) @ weights
        for bits in (data.x_train[:, :8], data.x_train[:, 8:], data.y_train)
    )
    np.testing.assert_array_equal(left + right, total)
    assert max(left.max(), right.max()) < 128
    assert len(set(zip(left, right, strict=True))) > 90


def test_the_sums_are_generated_and_need_no_file() -> None:
    (entry,) = (entry for entry in list_datasets() if entry.name == "addition")
    assert (entry.source, entry.checksums, entry.location) == ("generated", {}, None)
    assert "the test set is the training set" in entry.description
    assert get("addition") is None


# Names and paths


def test_load_takes_exactly_one_of_name_and_path() -> None:
    assert "neither" in refusal(lambda: load())
    assert "both 'digits' and 'a.npz'" in refusal(lambda: load("digits", "a.npz"))


def test_the_catalogue_lists_names_and_locations() -> None:
    assert names() == ["digits", "mnist", "cifar10", "addition"]
    assert names() == [entry.name for entry in list_datasets()]
    assert {entry.name for entry in list_datasets() if entry.location} == {"digits"}


def test_the_error_for_an_unknown_name_proposes_a_similar_one() -> None:
    assert "did you mean 'mnist'?" in refusal(lambda: load("mnits"))
    assert "did you mean 'digits'?" in refusal(lambda: get("digit"))


def test_the_error_for_a_missing_file_proposes_a_similar_one(tmp_path: Path) -> None:
    saved(tmp_path, arrays())
    assert "did you mean 'own.npz'?" in refusal(lambda: load(path=tmp_path / "owm.npz"))
    assert "no folder" in refusal(lambda: load(path=tmp_path / "absent" / "own.npz"))


@pytest.mark.parametrize("hidden", [".npm", ".npz", ".x.npz"])
def test_hidden_files_are_never_proposed(tmp_path: Path, hidden: str) -> None:
    (tmp_path / hidden).mkdir()
    assert "did you mean" not in refusal(lambda: load(path=tmp_path / "x.npz"))


def test_the_home_of_an_unknown_user_is_an_error() -> None:
    assert "there is no user" in refusal(lambda: load(path="~nobody-of-this-name/own.npz"))


def test_the_error_for_a_folder_without_idx_files_proposes_its_npz(tmp_path: Path) -> None:
    path = saved(tmp_path, arrays())
    assert f"did you mean {str(path)!r}?" in refusal(lambda: load(path=tmp_path))


@pytest.mark.parametrize("content", [b"no zip", pickle.dumps([1]), b"\x93NUMPY"])
def test_a_file_that_is_not_an_npz_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "own.npz"
    path.write_bytes(content)
    assert f"{path}: is not an .npz file" in refusal(lambda: load(path=path))
