"""Image folders on the disk, in a tar and in a zip."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.data_images import Files, image, in_folder, in_tar, pixels
from workers.data import Dataset

Pack = Callable[[Path, Files], Path]


def in_zip(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return path


PACKS: dict[str, Pack] = {
    "folder": lambda path, files: in_folder(path / "own", files),
    "tar": lambda path, files: in_tar(path / "own.tar", files.items()),
    "zip": lambda path, files: in_zip(path / "own.zip", files),
}
packs = pytest.mark.parametrize("pack", PACKS.values(), ids=PACKS)


def tree(train: str = "train", test: str = "test", around: str = "") -> Files:
    """Two images in each of the classes a and b of both splits, all different."""
    names = [f"{part}/{kind}/{i}.png" for part in (train, test) for kind in "ab" for i in "01"]
    return {f"{around}{name}": image(pixels(name)) for name in names}


def is_read(data: Dataset, train: str = "train", test: str = "test") -> bool:
    """Whether the data set holds all of `tree`, in order."""
    for part, x, y in ((train, data.x_train, data.y_train), (test, data.x_test, data.y_test)):
        expected = [pixels(f"{part}/{kind}/{i}.png") for kind in "ab" for i in "01"]
        np.testing.assert_array_equal(x, expected)
        np.testing.assert_array_equal(y, [0, 0, 1, 1])
    return True


OTHERS = ("train/a/readme.txt", "train/b/deep/labels.csv", "test/a/x.svg", "train/list.txt")
QUIET = (
    *("train/a/.DS_Store", "train/.ipynb_checkpoints/0.png", "test/a/Thumbs.db"),
    *("train/desktop.ini", "__MACOSX/train/a/._0.png", "train/b/._0.png"),
)
