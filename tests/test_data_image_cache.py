"""Archives of images: test sets only, cached arrays, and broken zips."""

from __future__ import annotations

import sys
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.data_help import refusal
from tests.data_image_folders import OTHERS, PACKS, Pack, in_zip, is_read, packs, tree
from tests.data_images import image, in_tar, pixels
from workers.data import images, load

pytestmark = pytest.mark.usefixtures("own_folders")


# The test set alone


@packs
def test_a_folder_of_the_test_set_is_enough_for_the_test_set(tmp_path: Path, pack: Pack) -> None:
    files = {n: c for n, c in tree().items() if n.startswith("test")} | {"test/a/x.txt": b""}
    data = load(path=pack(tmp_path, files), tests_only=True)
    assert (len(data.x_train), data.classes, data.shape) == (0, 2, (5, 4, 3))
    np.testing.assert_array_equal(data.y_test, [0, 0, 1, 1])
    assert data.class_names == ("a", "b")
    (left_out,) = data.notes
    assert "'test/a/x.txt'" in left_out
    again = load(path=next(tmp_path.glob("own*")), tests_only=True)  # of an archive, what was kept
    assert (again.notes, again.class_names) == (data.notes, data.class_names)


@packs
def test_the_training_set_numbers_the_classes_of_a_test_set_that_lacks_some(
    tmp_path: Path, pack: Pack
) -> None:
    files = {n: c for n, c in tree().items() if not n.startswith("test/a")}
    data = load(path=pack(tmp_path, files), tests_only=True)
    np.testing.assert_array_equal(data.y_test, [1, 1])
    assert data.notes == ()


@packs
@pytest.mark.parametrize("classes", ["a", "b", "c", "abc"])
def test_a_test_set_alone_may_have_other_classes_than_the_training_set(
    tmp_path: Path, pack: Pack, classes: str
) -> None:
    files = {f"test/{kind}/0.png": image(pixels(kind)) for kind in "bc"}
    files |= {f"Training/{kind}/0.png": b"" for kind in classes}
    data = load(path=pack(tmp_path, files), tests_only=True)
    assert data.class_names == tuple(sorted({*classes, "b", "c"}))
    assert [data.class_names[label] for label in data.y_test] == ["b", "c"]
    assert data.notes == ()


# The cache


@pytest.mark.parametrize("pack", [PACKS["tar"], PACKS["zip"]], ids=["tar", "zip"])
def test_the_notes_of_an_archive_are_kept_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Pack
) -> None:
    path = pack(tmp_path, tree(test="val") | dict.fromkeys(OTHERS, b"text"))
    first = load(path=path)
    assert len(first.notes) == 3
    monkeypatch.setitem(sys.modules, "PIL", None)
    again = load(path=path)
    assert is_read(again, test="val")
    assert again.notes == first.notes


@pytest.mark.parametrize("changed", ["DECODE_VERSION", "pillow_version"])
def test_another_version_of_the_decoder_or_pillow_decodes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    path = in_tar(tmp_path / "own.tar", tree().items())
    load(path=path)
    with monkeypatch.context() as context:
        context.setattr(images, changed, 99 if changed == "DECODE_VERSION" else lambda: "1.1.7")
        context.setitem(sys.modules, "PIL", None)
        assert "pip install pillow" in refusal(partial(load, path=path))


@pytest.mark.parametrize("changed", ["DECODE_VERSION", "pillow_version"])
@pytest.mark.parametrize("tests_only", [False, True])
def test_arrays_of_other_versions_are_removed_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str, tests_only: bool
) -> None:
    path, other = (pack(tmp_path, tree()) for pack in (PACKS["tar"], PACKS["zip"]))
    load(path=path)
    load(path=path, tests_only=True)
    load(path=other)
    before = {*(tmp_path / "cache").rglob("*.npz")}
    monkeypatch.setattr(images, changed, 99 if changed == "DECODE_VERSION" else lambda: "1.1.7")
    load(path=path, tests_only=tests_only)
    after = {*(tmp_path / "cache").rglob("*.npz")}
    assert len(before & after) == 1  # of the other archive
    assert len(after) == 2


# What is wrong with a zip


def test_a_zip_with_windows_paths_is_read(tmp_path: Path) -> None:
    path = tmp_path / "own.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in tree(around="own/").items():
            info = zipfile.ZipInfo("x")
            info.filename = name.replace("/", "\\")
            packed.writestr(info, content)
    assert is_read(load(path=path))


def test_the_error_for_an_encrypted_zip_names_a_member(tmp_path: Path) -> None:
    path = in_zip(tmp_path / "own.zip", tree())
    raw = bytearray(path.read_bytes())
    for begin, flag in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = raw.find(begin)
        while at >= 0:
            raw[at + flag] |= 1
            at = raw.find(begin, at + 1)
    path.write_bytes(raw)
    assert "is encrypted; unpack it to a folder" in refusal(partial(load, path=path))


def test_a_damaged_zip_of_images_is_read_or_refused(tmp_path: Path) -> None:
    path = in_zip(tmp_path / "own.zip", tree())
    good = path.read_bytes()
    outcomes: set[tuple[int, ...] | None] = set()
    for at in range(0, len(good), 41):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :])
        try:
            outcomes.add(load(path=path).shape)
        except Exception:
            assert refusal(partial(load, path=path)).startswith(f"{path}: ")
            outcomes.add(None)
    assert outcomes == {None, (5, 4, 3)}


@pytest.mark.parametrize("pack", [PACKS["tar"], PACKS["zip"]], ids=["tar", "zip"])
@pytest.mark.parametrize(
    "name", ["own.npz", "data/own.csv", "train-images-idx3-ubyte.gz", "a/t10k-labels-idx1-ubyte"]
)
def test_the_error_for_an_archive_of_other_data_sets_says_to_unpack_it(
    tmp_path: Path, pack: Pack, name: str
) -> None:
    text = refusal(partial(load, path=pack(tmp_path, {name: b""})))
    assert f"it holds {name!r}, which is not read from an archive: unpack it" in text


@pytest.mark.parametrize("count", [3, 3000])
def test_the_error_for_a_zip_without_images_is_one_short_line(tmp_path: Path, count: int) -> None:
    path = in_zip(tmp_path / "own.zip", {f"some/where/{i}.csv": b"" for i in range(count)})
    text = refusal(partial(load, path=path))
    assert "holds no images such as train/<class>/<name>.png" in text
    assert len(text) < 500
