"""An image folder is a data set, also in an archive; an error names what is wrong."""

from __future__ import annotations

import resource
import shutil
import struct
import sys
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data_help import refusal
from tests.data_images import NAMES, Files, image, in_folder, in_tar, pixels, tree
from tests.real_data import real_data
from workers.data import Dataset, images, load

pytestmark = pytest.mark.usefixtures("own_folders")


def is_tree(data: Dataset, shape: tuple[int, ...] = (5, 4, 3)) -> bool:
    """Whether it is the data set of `tree`, in the order of names."""
    assert (data.name, data.shape, data.classes, data.scale) == ("own", shape, 2, 1 / 255)
    for part, x, y in (
        ("train", data.x_train, data.y_train),
        ("test", data.x_test, data.y_test),
    ):
        names = sorted(name for name in NAMES if name.startswith(part))
        np.testing.assert_array_equal(x, [pixels(name, shape) for name in names])
        np.testing.assert_array_equal(y, [0, 0, 1, 1])
        assert x.dtype == np.uint8
        assert y.dtype == np.int64
    return True


@pytest.mark.parametrize("shape", [(5, 4, 3), (3, 6), (2, 2, 4), (1, 1)])
def test_a_folder_of_images_is_a_data_set(tmp_path: Path, shape: tuple[int, ...]) -> None:
    assert is_tree(load(path=in_folder(tmp_path / "own", tree(shape))), shape)


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.xz"])
@pytest.mark.parametrize("around", ["", "./", "images/"])
def test_an_archive_of_images_is_the_same_data_set(
    tmp_path: Path, suffix: str, around: str
) -> None:
    members: list[tuple[str, bytes | None]] = [
        (f"{around}{name}", content)
        for name, content in [("train", None), ("train/a", None), *tree().items()]
    ]
    assert is_tree(load(path=in_tar(tmp_path / f"own{suffix}", members)))


def test_jpegs_are_images_and_other_files_are_ignored(tmp_path: Path) -> None:
    smooth = np.arange(64, dtype=np.uint8).reshape(8, 8) * 3
    names = ("train/a/1.jpg", "train/a/2.JPEG", "test/a/3.jpeg", "train/b/1.jpg", "test/b/1.jpg")
    rest = ("readme.txt", "train/notes.txt", "train/a/.hidden.png", "train/.git/x.png", "a/b.png")
    files = {name: image(smooth, "JPEG") for name in names} | dict.fromkeys(rest, b"text")
    for data in (
        load(path=in_folder(tmp_path / "own", files)),
        load(path=in_tar(tmp_path / "own.tar", [*files.items(), ("train/a/deep", None)])),
    ):
        assert data.y_train.tolist() == [0, 0, 1]
        assert np.abs(data.x_train.astype(int) - smooth).max() < 12


def claimed(width: int, height: int) -> bytes:
    """A PNG whose header states a size and that holds almost no data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        whole = kind + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


NOISE = image(pixels("noise", (40, 40, 3)), "JPEG")
FIRST, OTHER = "train/a/0.png", "test/b/1.png"
WRONG: dict[str, tuple[Files, str]] = {
    "size": ({OTHER: image(pixels("x", (4, 5, 3)))}, "is RGB of 5 x 4 pixels; most, such as 't"),
    "mode": ({OTHER: image(pixels("x", (5, 4)))}, "is L of 4 x 5 pixels; most, such as 't"),
    "text": ({OTHER: b"text"}, "is not an image that Pillow can read"),
    "empty": ({OTHER: b""}, "is empty; repair or remove it"),
    "deep": ({OTHER: image(pixels("x", (5, 4)).astype(np.uint16))}, "has more than 8 bits"),
    "cut": ({OTHER: tree()[OTHER][:-30]}, "cannot be decoded"),
    "void": ({OTHER: claimed(4, 5)}, "cannot be decoded"),
    "bomb": ({OTHER: claimed(60_000, 60_000)}, "cannot be decoded"),
    "large": (
        {OTHER: claimed(11_000, 11_000)},
        "has 11000 x 11000 pixels; at most 16,777,216 are allowed; resize it",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("packed", [False, True])
def test_an_image_that_is_broken_or_differs_is_named(
    tmp_path: Path, wrong: str, packed: bool
) -> None:
    change, expected = WRONG[wrong]
    files = tree() | change
    if packed:
        path = in_tar(tmp_path / "own.tar.gz", sorted(files.items()))
    else:
        path = in_folder(tmp_path / "own", files)
    text = refusal(lambda: load(path=path))
    assert text.startswith(f"{path}: {OTHER!r}: {expected}")
    assert len(text) < 400
    assert not (tmp_path / "cache").exists()


def first(tmp_path: Path, content: bytes) -> Path:
    """An archive in which `content` is the first image."""
    files = tree()
    del files[FIRST]
    return in_tar(tmp_path / "own.tar", [(FIRST, content), *files.items()])


def test_the_first_image_is_checked_too(tmp_path: Path) -> None:
    for content, expected in (
        (claimed(5000, 5000), "has 5000 x 5000 pixels"),
        (claimed(11_000, 11_000), "has 11000 x 11000 pixels"),
        (
            image(np.zeros((5, 4), np.float32), "TIFF"),
            "has more than 8 bits per channel (mode F)",
        ),
        (NOISE[: len(NOISE) // 2], "cannot be decoded"),
    ):
        text = refusal(partial(load, path=first(tmp_path, content)))
        assert text.startswith(f"{tmp_path / 'own.tar'}: {FIRST!r}: ")
        assert expected in text


def test_more_images_than_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "MAX_BYTES", 479)
    path = in_folder(tmp_path / "own", tree())
    assert "8 images of (5, 4, 3)" in refusal(lambda: load(path=path))


TREES: dict[str, tuple[Callable[[Files], object], str]] = {
    "none": (lambda f: f.clear(), "holds no images such as train/<class>/<name>.png"),
    "lacking": (lambda f: [f.pop(f"test/a/{i}.png") for i in (0, 1)], "test/ lacks the class 'a'"),
    "more": (lambda f: f.update({"test/c/1.png": b""}), "train/ lacks the class 'c'"),
    "empty": (lambda f: f.update({"train/c/x.txt": b""}), "the class 'train/c' holds no images"),
    "two empty": (
        lambda f: f.update({"train/c/x.txt": b"", "test/d/x.txt": b""}),
        "the classes 'test/d', 'train/c' hold no images; add some, or remove the folders",
    ),
    "odd": (lambda f: f.update({"test/c\nd/1.png": b""}), "lacks the class 'c\\nd'"),
}


@pytest.mark.parametrize("wrong", TREES)
@pytest.mark.parametrize("packed", [False, True])
def test_an_image_folder_with_wrong_classes_is_refused(
    tmp_path: Path, wrong: str, packed: bool
) -> None:
    change, expected = TREES[wrong]
    files = tree()
    change(files)
    files["test/readme"] = files["train/readme"] = b""
    if packed:
        path = in_tar(tmp_path / "own.tar.gz", files.items())
    else:
        path = in_folder(tmp_path / "own", files)
    text = refusal(lambda: load(path=path))
    assert text.startswith(f"{path}: ")
    assert expected in text


def test_an_empty_class_is_refused(tmp_path: Path) -> None:
    folder = in_folder(tmp_path / "own", tree())
    (folder / "test" / "c").mkdir()
    packed = in_tar(tmp_path / "own.tar", [*tree().items(), ("test/c/", None)])
    for path in (folder, packed):
        assert "'test/c' holds no images" in refusal(partial(load, path=path))


def test_duplicate_names_and_two_image_folders_are_refused(tmp_path: Path) -> None:
    twice = in_tar(tmp_path / "own.tar", [*tree().items(), *tree().items()])
    assert "twice" in refusal(lambda: load(path=twice))
    two = in_tar(tmp_path / "own.tar", [(f"{a}/{n}", c) for a in "ab" for n, c in tree().items()])
    assert "more than one image folder: under 'a', 'b'" in refusal(lambda: load(path=two))


def test_the_error_without_pillow_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = in_folder(tmp_path / "own", tree())
    monkeypatch.setitem(sys.modules, "PIL", None)
    text = refusal(lambda: load(path=path))
    assert text.startswith(f"{path}: ")
    assert "pip install pillow" in text
    assert "[images]" in text


# The cache


def cached(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").rglob("*.*"))


def test_an_archive_is_decoded_once_per_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = in_tar(tmp_path / "own.tar.xz", tree().items())
    assert is_tree(load(path=path))
    assert len(cached(tmp_path)) == 1
    with monkeypatch.context() as context:
        context.setitem(sys.modules, "PIL", None)
        moved = tmp_path / "folder" / "own.tar"
        moved.parent.mkdir()
        assert is_tree(load(path=path.rename(moved)))
    other = tree() | {FIRST: image(pixels("other"))}
    changed = load(path=in_tar(moved, other.items()))
    np.testing.assert_array_equal(changed.x_train[0], pixels("other"))
    assert len(cached(tmp_path)) == 2


def test_a_broken_copy_in_the_cache_is_replaced(tmp_path: Path) -> None:
    path = in_tar(tmp_path / "own.tar", tree().items())
    load(path=path)
    (kept,) = cached(tmp_path)
    whole = kept.read_bytes()
    for broken in (whole[:-1], whole.replace(b"NUMPY", b"NUMPI"), b""):
        kept.write_bytes(broken)
        assert is_tree(load(path=path))
        assert kept.read_bytes() == whole


def test_an_archive_is_read_without_a_writable_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    monkeypatch.setenv("DNI_CACHE", str(blocked))
    path = in_tar(tmp_path / "own.tar", tree().items())
    assert is_tree(load(path=path))


def test_an_archive_is_read_when_the_disk_is_full(tmp_path: Path) -> None:
    path = in_tar(tmp_path / "own.tar", tree().items())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for room in (0, 100, 1500):
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
        try:
            assert is_tree(load(path=path))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert cached(tmp_path) == []


# The real one


@pytest.mark.service
@pytest.mark.slow
def test_the_jpeg_copy_of_cifar10_is_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = real_data("cifar10-jpeg.tar.xz") / "cifar10-jpeg.tar.xz"
    data = load(path=archive)
    assert (data.name, data.shape, data.classes) == ("cifar10-jpeg", (32, 32, 3), 10)
    assert np.bincount(data.y_train.astype(int)).tolist() == [5000] * 10
    assert np.bincount(data.y_test.astype(int)).tolist() == [1000] * 10
    assert 110 < data.x_train[::100].mean() < 130
    monkeypatch.setattr(Image, "open", None)
    again = load(path=archive)
    np.testing.assert_array_equal(again.x_train, data.x_train)
    np.testing.assert_array_equal(again.y_test, data.y_test)
    shutil.rmtree(tmp_path / "cache")  # 180 MB
