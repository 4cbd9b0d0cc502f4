"""MNIST is found, verified, and downloaded again if a cached file is broken."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from tests.data_help import (
    Answers,
    mirror,
    refusal,
    write_files,
)
from tests.real_data import real_data
from workers.data import get, list_datasets, load, mnist, paths

pytestmark = pytest.mark.usefixtures("own_folders")


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = real_data("mnist")
    monkeypatch.setenv("DNI_DATA", str(folder))
    return folder / "mnist"


@pytest.mark.service
def test_the_real_mnist_is_found_verified_and_loaded(real: Path) -> None:
    data = load("mnist")
    assert (data.shape, data.classes, data.scale) == ((28, 28), 10, 1 / 255)
    assert data.x_train.shape == (60_000, 28, 28)
    assert data.x_test.dtype == np.uint8
    assert data.y_train[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.y_test[:5].tolist() == [7, 2, 1, 0, 4]
    assert list_datasets()[1].location == real


@pytest.mark.service
def test_the_real_mnist_may_be_unzipped_in_the_folder_itself(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in real.glob("*.gz"):
        if path.name.startswith("train-images"):
            (tmp_path / path.name).symlink_to(path)
        else:
            (tmp_path / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    monkeypatch.setenv("DNI_DATA", str(tmp_path))
    assert get("mnist") == tmp_path


@pytest.mark.parametrize("suffix", [".gz", ""])
def test_a_broken_file_in_the_cache_is_downloaded_again(
    small: Answers, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    write_files(paths.cache_folder("mnist"), dict(list(small.items())[1:]))
    (paths.cache_folder("mnist") / f"train-images-idx3-ubyte{suffix}").write_bytes(b"broken")
    with mirror(small) as good:
        monkeypatch.setattr(mnist, "MIRRORS", (good.url,))
        for _ in range(2):
            assert load("mnist").classes == 4
        assert good.requests == ["/train-images-idx3-ubyte.gz"]


def test_the_error_for_a_wrong_file_of_the_user_has_both_checksums(
    small: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_files(tmp_path / "data" / "mnist", small)
    path = folder / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(b"wrong")
    monkeypatch.setenv("DNI_DATA", str(tmp_path / "data"))
    text = refusal(lambda: load("mnist"))
    assert text.startswith(f"{path}: ")
    assert hashlib.md5(b"wrong").hexdigest() in text
    assert mnist.FILES["y_test"].md5 in text


def test_the_users_folder_is_preferred_to_the_cache(
    small: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert write_files(paths.cache_folder("mnist"), small) == get("mnist")
    root = write_files(tmp_path / "data", small)
    monkeypatch.setenv("DNI_DATA", str(root))
    assert get("mnist") == root
    assert write_files(root / "mnist", small) == get("mnist")


def test_an_incomplete_folder_of_the_user_is_skipped(
    small: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "DNI_DATA", str(write_files(tmp_path / "data", dict(list(small.items())[1:])))
    )
    assert write_files(paths.cache_folder("mnist"), small) == get("mnist")


def test_the_error_without_a_network_names_file_mirrors_and_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with mirror({}) as closed:
        gone = (closed.url, f"{closed.url}second/")
    monkeypatch.setattr(mnist, "MIRRORS", gone)
    text = refusal(lambda: load("mnist"))
    for part in (
        "train-images-idx3-ubyte.gz",
        *gone,
        "$DNI_DATA/mnist",
        str(paths.cache_folder("mnist")),
    ):
        assert part in text
    assert len(text) < 1000
