"""A small data set in both formats of CIFAR-10."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np

from tests.data_pickles import python2
from workers.data import Dataset
from workers.data.cifar_files import CifarFormat

RECORDS = 20
RNG = np.random.default_rng(3)
PIXELS = RNG.integers(0, 256, (6, RECORDS, 3072), np.uint8)
LABELS = np.array([RNG.permutation(RECORDS) % 10 for _ in range(6)])

Files = dict[str, bytes]


def binary(pixels: np.ndarray, labels: np.ndarray) -> bytes:
    """The content of a file in the binary format."""
    return np.concatenate([labels[:, None].astype(np.uint8), pixels], axis=1).tobytes()


def content(form: CifarFormat) -> Files:
    """The six files of a small data set in that format, pickled by Python 2 and 3."""
    files = {}
    for name, pixels, labels in zip(form.files, PIXELS, LABELS, strict=True):
        if name.endswith(".bin"):
            files[name] = binary(pixels, labels)
        elif name.endswith("5"):
            files[name] = pickle.dumps({"data": pixels, "labels": labels.tolist()}, 4)
        else:
            files[name] = python2(pixels, labels.tolist())
    return files


def packed(form: CifarFormat, files: Files) -> bytes:
    """The published archive: with its folder, and a file that is not read."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        folder = tarfile.TarInfo(form.folder)
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, data in {"readme.html": b"<html>", **files}.items():
            member = tarfile.TarInfo(f"{form.folder}/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return raw.getvalue()


def md5(data: bytes) -> str:
    """The checksum of a file's content."""
    return hashlib.md5(data).hexdigest()


def place_files(place: Path, data: bytes | Files) -> Path:
    """An archive or a folder of files at `place`."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(data, bytes):
        place.write_bytes(data)
    else:
        place.mkdir()
        for name, raw in data.items():
            (place / name).write_bytes(raw)
    return place


def is_small(data: Dataset) -> bool:
    """Whether `data` is the small data set, image by image."""
    assert (data.name, data.shape, data.classes, data.scale) == (
        "cifar10",
        (32, 32, 3),
        10,
        1 / 255,
    )
    assert data.x_train.dtype == data.x_test.dtype == np.uint8
    assert data.y_train.dtype == data.y_test.dtype == np.int64
    pixels = np.concatenate([data.x_train, data.x_test]).reshape(6, RECORDS, 32, 32, 3)
    planes = PIXELS.reshape(6, RECORDS, 3, 32, 32)
    for channel in range(3):
        np.testing.assert_array_equal(pixels[..., channel], planes[:, :, channel])
    np.testing.assert_array_equal(data.y_train, LABELS[:5].reshape(-1))
    np.testing.assert_array_equal(data.y_test, LABELS[5])
    return True
