"""Real image folders: deep, with other names, with other files, in a zip."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.data_help import refusal
from tests.data_image_folders import OTHERS, QUIET, Pack, is_read, packs, tree
from tests.data_images import image, in_folder, pixels
from workers.data import load

pytestmark = pytest.mark.usefixtures("own_folders")


@packs
def test_images_at_any_depth_below_a_class_are_of_that_class(tmp_path: Path, pack: Pack) -> None:
    files = {
        f"{split}/{kind}/{below}{i}.png": image(pixels(f"{split}{kind}{below}{i}"))
        for split in ("train", "test")
        for kind in "ab"
        for below in ("", "deep/", "deep/er/", "other/train/")
        for i in range(2)
    }
    data = load(path=pack(tmp_path, files))
    np.testing.assert_array_equal(data.y_train, [0] * 8 + [1] * 8)
    names = sorted(name for name in files if name.startswith("train/a/"))
    expected = [pixels(name.removesuffix(".png").replace("/", "", 2)) for name in names]
    np.testing.assert_array_equal(data.x_train[:8], expected)
    assert data.notes == ()


@packs
def test_files_that_are_not_images_are_counted_and_named(tmp_path: Path, pack: Pack) -> None:
    data = load(path=pack(tmp_path, tree() | dict.fromkeys((*OTHERS, *QUIET), b"text")))
    assert is_read(data)
    shown = ", ".join(map(repr, sorted(OTHERS)))
    assert data.notes == (f"left out 4 files that are not images: {shown}",)


BESIDE = {
    "root": ("root.png",),
    "extra": ("extra/1.png", "extra/deep/er/2.png"),
    "split": ("train/1.png", "test/2.png"),
    "all": ("root.png", "extra/1.png", "train/1.png", "extra/a/b.dat"),
    "many": tuple(f"extra/{i}.png" for i in range(10, 1244)),
}


@packs
@pytest.mark.parametrize("name", BESIDE)
@pytest.mark.parametrize("around", ["", "own/"])
def test_images_outside_of_classes_are_counted_and_named(
    tmp_path: Path, pack: Pack, name: str, around: str
) -> None:
    files = {f"{around}{path}": image(pixels("x")) for path in BESIDE[name]}
    path = pack(tmp_path, tree(around=around) | files)
    inside = path.is_dir() and around
    data = load(path=path / "own" if inside else path)
    assert is_read(data)
    names = sorted(BESIDE[name] if inside else files)
    count = "1 image that is" if len(names) == 1 else f"{len(names):,} images that are"
    more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
    shown = ", ".join(map(repr, names[:5]))
    assert data.notes == (f"left out {count} in no class folder: {shown}{more}",)


@packs
def test_files_beside_the_splits_are_counted(tmp_path: Path, pack: Pack) -> None:
    files = {"readme.md": b"text", "extra/x.csv": b"text", "train/x.csv": b"", "extra/y": b""}
    (note,) = load(path=pack(tmp_path, tree() | files)).notes
    assert note.startswith("left out 4 files that are not images: 'extra/x.csv', 'extra/y', 'r")


def test_unreadable_folders_beside_the_splits_are_ignored(tmp_path: Path) -> None:
    path = in_folder(tmp_path / "own", tree() | {"lost/x.png": b"", "z.png": image(pixels("z"))})
    (path / "link").symlink_to(tmp_path)
    (path / "lost").chmod(0)
    try:
        data = load(path=path)
    finally:
        (path / "lost").chmod(0o700)
    assert is_read(data)
    assert "'z.png'" in data.notes[-1]


@packs
@pytest.mark.parametrize(("count", "more"), [(1, 0), (5, 0), (6, 1), (1234, 1229)])
def test_the_note_on_left_out_files_names_five_at_most(
    tmp_path: Path, pack: Pack, count: int, more: int
) -> None:
    others = {f"train/a/{i:04}.txt": b"text" for i in range(count)}
    (note,) = load(path=pack(tmp_path, tree() | others)).notes
    assert note.startswith(f"left out {count:,} file")
    assert note.count(".txt") == min(count, 5)
    assert note.endswith(f"and {more:,} more") == bool(more)


@packs
def test_hidden_files_and_those_of_file_managers_are_skipped(tmp_path: Path, pack: Pack) -> None:
    data = load(path=pack(tmp_path, tree() | dict.fromkeys(QUIET, b"text")))
    assert is_read(data)
    assert data.notes == ()


@packs
@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "val"),
        ("train", "valid"),
        ("training", "validation"),
        ("Train", "Test"),
        ("train", "dev"),
        ("train", "eval"),
        ("train_set", "test_set"),
        ("Training Set", "test-set"),
    ],
)
@pytest.mark.parametrize("around", ["", "own/"])
def test_other_names_of_the_splits_are_accepted_with_a_note(
    tmp_path: Path, pack: Pack, train: str, test: str, around: str
) -> None:
    path = pack(tmp_path, tree(train, test, around))
    data = load(path=path / "own" if path.is_dir() and around else path)
    assert is_read(data, train, test)
    names = {"train": train, "test": test}
    expected = [f"{name}/ is used as {split}/" for split, name in names.items() if name != split]
    assert list(data.notes) == expected


@packs
def test_a_second_test_set_gives_a_note(tmp_path: Path, pack: Pack) -> None:
    data = load(path=pack(tmp_path, tree() | tree(test="val")))
    assert is_read(data)
    assert data.notes == ("val/ is not used: test/ is the test set",)


@packs
def test_val_is_used_where_test_has_no_classes(tmp_path: Path, pack: Pack) -> None:
    unlabelled = {f"test/{i}.png": image(pixels("x")) for i in range(3)}
    data = load(path=pack(tmp_path, tree(test="val") | unlabelled))
    assert is_read(data, test="val")
    assert data.notes == ("val/ is used as test/", "test/ is not used: val/ is the test set")


LACKING = {
    "test": ("train", "has no test/<class>/ folders; move some of the images of each class there"),
    "train": ("test", "has no train/<class>/ folders; move some of the images of each class"),
}


@packs
@pytest.mark.parametrize("split", LACKING)
def test_the_error_for_a_missing_split_says_what_to_move(
    tmp_path: Path, pack: Pack, split: str
) -> None:
    there, expected = LACKING[split]
    files = {name: content for name, content in tree().items() if name.startswith(there)}
    text = refusal(partial(load, path=pack(tmp_path, files)))
    assert expected in text
    assert f"such as those for {split}/a/" in text


@packs
def test_the_error_for_images_without_class_folders_names_a_few(tmp_path: Path, pack: Pack) -> None:
    files = {f"{split}/{i}.png": b"" for split in ("train", "test") for i in range(500)}
    text = refusal(partial(load, path=pack(tmp_path, files)))
    assert "each class needs a folder of its own; it holds 'test/0.png', 'test/1.png'" in text
    assert text.endswith("and 995 more")


def test_the_error_for_classes_without_splits_names_the_classes(tmp_path: Path) -> None:
    files = {f"{kind}/{i}.png": b"" for kind in ("cat", "dog") for i in range(3)}
    text = refusal(partial(load, path=in_folder(tmp_path / "own", files)))
    assert "it holds the folders 'cat', 'dog': if these are classes, move them into train/" in text


@pytest.mark.parametrize("lacking", [2, 10, 30])
def test_ten_of_the_missing_classes_are_named(tmp_path: Path, lacking: int) -> None:
    more = {f"train/c{i:02}/0.png": image(pixels("x")) for i in range(lacking)}
    text = refusal(partial(load, path=in_folder(tmp_path / "own", tree() | more)))
    assert "test/ lacks the classes 'c00', 'c01'" in text
    assert text.count("'c") == min(lacking, 10)
    assert (f"and {lacking - 10} more" in text) == (lacking > 10)
