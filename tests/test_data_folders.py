"""Known data sets are found in the folders of other libraries."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.data_cifar import content, place_files
from tests.data_help import arrays, idx_folder, refusal
from workers.data import cifar, load, mnist
from workers.data.cifar_files import CifarFormat

pytestmark = pytest.mark.usefixtures("own_folders")

SPELLINGS: tuple[Callable[[str], str], ...] = (lambda name: name, lambda name: f"{name}.gz")
both_spellings = pytest.mark.parametrize("spelling", SPELLINGS, ids=["plain", "gzipped"])


def torchvision(root: Path, name: str, spelling: Callable[[str], str] = SPELLINGS[0]) -> Path:
    (root / name).mkdir(parents=True)
    return idx_folder(root / name / "raw", arrays(), spelling)


@both_spellings
@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "KMNIST"])
@pytest.mark.parametrize("given", ["root", "folder", "raw"])
def test_the_folders_of_torchvision_are_data_sets(
    tmp_path: Path, spelling: Callable[[str], str], name: str, given: str
) -> None:
    raw = torchvision(tmp_path / "data", name, spelling)
    path = {"root": tmp_path / "data", "folder": raw.parent, "raw": raw}[given]
    data = load(path=path)
    assert data.name == name
    np.testing.assert_array_equal(data.x_test, arrays()["x_test"])


@pytest.mark.parametrize("below", ["", "mnist", "MNIST/raw", "mnist/raw", "mnist/MNIST/raw", "raw"])
def test_mnist_is_found_in_each_of_its_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    folder = tmp_path / "given" / below
    folder.mkdir(parents=True)
    idx_folder(folder, arrays(), SPELLINGS[1])
    monkeypatch.setenv("DNI_DATA", str(tmp_path / "given"))
    assert mnist.find() == folder
    text = refusal(partial(load, "mnist"))  # which it is not, and it is not downloaded instead
    assert text.startswith(str(folder))
    assert "replace that file, or unset DNI_DATA" in text


def test_a_folder_of_two_data_sets_is_refused(tmp_path: Path) -> None:
    for name in ("MNIST", "FashionMNIST"):
        torchvision(tmp_path / "data", name)
    text = refusal(partial(load, path=tmp_path / "data"))
    assert "holds several data sets: 'FashionMNIST/raw', 'MNIST/raw'; give the path of one" in text
    form = cifar.FORMATS[1]
    place_files(tmp_path / "data" / form.folder, dict.fromkeys(form.files, b""))
    assert f"several data sets: '{form.folder}', 'F" in refusal(
        partial(load, path=tmp_path / "data")
    )


@pytest.mark.parametrize("form", cifar.FORMATS, ids=[form.folder for form in cifar.FORMATS])
def test_cifar10_is_found_in_the_folder_of_torchvision(tmp_path: Path, form: CifarFormat) -> None:
    place_files(tmp_path / "data" / form.folder, content(form))
    for path in (tmp_path / "data", tmp_path / "data" / form.folder):
        text = refusal(partial(load, path=path))
        assert "images, expected 10000" in text or "has MD5" in text


@pytest.mark.parametrize("compressed", [False, True])
def test_the_mnist_npz_of_keras_is_a_data_set(tmp_path: Path, compressed: bool) -> None:
    save = np.savez_compressed if compressed else np.savez
    made = {key: array for key, array in arrays().items() if key.startswith("x_te")} | arrays()
    save(tmp_path / "mnist.npz", **made)  # type: ignore[arg-type]
    assert load(path=tmp_path / "mnist.npz").summary == (
        "mnist: 6 training and 2 test examples of 2x2, 4 classes"
    )


@both_spellings
def test_a_test_set_needs_no_training_files(tmp_path: Path, spelling: Callable[[str], str]) -> None:
    tests = {key: array for key, array in arrays().items() if key.endswith("_test")}
    folder = idx_folder(tmp_path / "own", tests, spelling)
    data = load(path=folder, tests_only=True)
    assert data.summary == "own: 2 test examples of 2x2, 2 classes"
    assert "train-images-idx3-ubyte[.gz] is missing" in refusal(partial(load, path=folder))


@pytest.mark.parametrize("prefix", ["emnist-letters-", "emnist-balanced-", "my."])
def test_the_error_for_idx_files_of_other_names_says_how_to_rename_them(
    tmp_path: Path, prefix: str
) -> None:
    folder = idx_folder(tmp_path / "own", arrays(), lambda name: f"{prefix}{name}.gz")
    text = refusal(partial(load, path=folder))
    assert text.endswith(f": leave {prefix!r} out of the names of the four IDX files")


@pytest.mark.parametrize("name", ["mnist", "fashion", "x"])
def test_the_error_for_a_folder_proposes_the_idx_folder_inside(tmp_path: Path, name: str) -> None:
    (tmp_path / "data").mkdir()
    folder = idx_folder(tmp_path / "data" / name, arrays(), SPELLINGS[0])
    text = refusal(partial(load, path=tmp_path / "data"))
    assert text.endswith(f"; did you mean {str(folder)!r}?")
