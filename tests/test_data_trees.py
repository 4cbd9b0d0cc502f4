"""Trees of images as people have them: deep, differently named, with other files, in a zip."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.data_help import refusal
from tests.data_pictures import Files, in_folder, in_tar, picture, pixels
from workers.data import Dataset, images, load

pytestmark = pytest.mark.usefixtures("own_folders")

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
    """Two images in each of the classes a and b of both parts, each other than all others."""
    names = [f"{part}/{kind}/{i}.png" for part in (train, test) for kind in "ab" for i in "01"]
    return {f"{around}{name}": picture(pixels(name)) for name in names}


def is_read(data: Dataset, train: str = "train", test: str = "test") -> bool:
    """Whether all of `tree` is there, in order."""
    for part, x, y in ((train, data.x_train, data.y_train), (test, data.x_test, data.y_test)):
        expected = [pixels(f"{part}/{kind}/{i}.png") for kind in "ab" for i in "01"]
        np.testing.assert_array_equal(x, expected)
        np.testing.assert_array_equal(y, [0, 0, 1, 1])
    return True


@packs
def test_images_below_a_class_are_of_that_class_at_any_depth(tmp_path: Path, pack: Pack) -> None:
    files = {
        f"{part}/{kind}/{below}{i}.png": picture(pixels(f"{part}{kind}{below}{i}"))
        for part in ("train", "test")
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


OTHERS = ("train/a/readme.txt", "train/b/deep/labels.csv", "test/a/x.svg", "train/list.txt")
QUIET = (
    *("train/a/.DS_Store", "train/.ipynb_checkpoints/0.png", "test/a/Thumbs.db"),
    *("train/desktop.ini", "__MACOSX/train/a/._0.png", "train/b/._0.png"),
)


@packs
def test_files_that_are_no_images_are_counted_and_named(tmp_path: Path, pack: Pack) -> None:
    data = load(path=pack(tmp_path, tree() | dict.fromkeys((*OTHERS, *QUIET), b"text")))
    assert is_read(data)
    shown = ", ".join(map(repr, sorted(OTHERS)))
    assert data.notes == (f"left out 4 files that are not images: {shown}",)


BESIDE = {
    "root": ("root.png",),
    "extra": ("extra/1.png", "extra/deep/er/2.png"),
    "part": ("train/1.png", "test/2.png"),
    "all": ("root.png", "extra/1.png", "train/1.png", "extra/a/b.dat"),
    "many": tuple(f"extra/{i}.png" for i in range(10, 1244)),
}


@packs
@pytest.mark.parametrize("name", BESIDE)
@pytest.mark.parametrize("around", ["", "own/"])
def test_images_that_are_in_no_class_are_counted_and_named(
    tmp_path: Path, pack: Pack, name: str, around: str
) -> None:
    files = {f"{around}{path}": picture(pixels("x")) for path in BESIDE[name]}
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
def test_files_beside_the_parts_are_counted(tmp_path: Path, pack: Pack) -> None:
    files = {"readme.md": b"text", "extra/x.csv": b"text", "train/x.csv": b"", "extra/y": b""}
    (note,) = load(path=pack(tmp_path, tree() | files)).notes
    assert note.startswith("left out 4 files that are not images: 'extra/x.csv', 'extra/y', 'r")


def test_folders_that_cannot_be_read_are_no_matter_beside_the_parts(tmp_path: Path) -> None:
    path = in_folder(tmp_path / "own", tree() | {"lost/x.png": b"", "z.png": picture(pixels("z"))})
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
def test_hidden_files_and_those_of_file_managers_are_passed_over(
    tmp_path: Path, pack: Pack
) -> None:
    data = load(path=pack(tmp_path, tree() | dict.fromkeys(QUIET, b"text")))
    assert is_read(data)
    assert data.notes == ()


@packs
@pytest.mark.parametrize(
    ("train", "test"),
    [("train", "val"), ("train", "valid"), ("training", "validation"), ("Train", "Test")],
)
@pytest.mark.parametrize("around", ["", "own/"])
def test_other_names_of_the_parts_are_accepted_with_a_note(
    tmp_path: Path, pack: Pack, train: str, test: str, around: str
) -> None:
    path = pack(tmp_path, tree(train, test, around))
    data = load(path=path / "own" if path.is_dir() and around else path)
    assert is_read(data, train, test)
    names = {"train": train, "test": test}
    said = [f"{name}/ is used as {part}/" for part, name in names.items() if name != part]
    assert list(data.notes) == said


@packs
def test_a_second_test_set_gives_a_note(tmp_path: Path, pack: Pack) -> None:
    data = load(path=pack(tmp_path, tree() | tree(test="val")))
    assert is_read(data)
    assert data.notes == ("val/ is not used: test/ is the test set",)


@packs
def test_val_is_used_where_test_has_no_classes(tmp_path: Path, pack: Pack) -> None:
    unlabelled = {f"test/{i}.png": picture(pixels("x")) for i in range(3)}
    data = load(path=pack(tmp_path, tree(test="val") | unlabelled))
    assert is_read(data, test="val")
    assert data.notes == ("val/ is used as test/", "test/ is not used: val/ is the test set")


LACKING = {
    "test": ("train", "has no test/<class>/ folders; move some of the images of each class there"),
    "train": ("test", "has no train/<class>/ folders; move some of the images of each class"),
}


@packs
@pytest.mark.parametrize("part", LACKING)
def test_the_error_for_a_missing_part_says_what_to_move(
    tmp_path: Path, pack: Pack, part: str
) -> None:
    there, said = LACKING[part]
    files = {name: content for name, content in tree().items() if name.startswith(there)}
    text = refusal(partial(load, path=pack(tmp_path, files)))
    assert said in text
    assert f"such as those for {part}/a/" in text


@packs
def test_the_error_for_images_without_class_folders_names_a_few(tmp_path: Path, pack: Pack) -> None:
    files = {f"{part}/{i}.png": b"" for part in ("train", "test") for i in range(500)}
    text = refusal(partial(load, path=pack(tmp_path, files)))
    assert "each class needs a folder of its own; it holds 'test/0.png', 'test/1.png'" in text
    assert text.endswith("and 995 more")


def test_the_error_for_classes_without_parts_names_the_classes(tmp_path: Path) -> None:
    files = {f"{kind}/{i}.png": b"" for kind in ("cat", "dog") for i in range(3)}
    text = refusal(partial(load, path=in_folder(tmp_path / "own", files)))
    assert "it holds the folders 'cat', 'dog': if these are classes, move them into train/" in text


@pytest.mark.parametrize("lacking", [2, 10, 30])
def test_ten_of_the_missing_classes_are_named(tmp_path: Path, lacking: int) -> None:
    more = {f"train/c{i:02}/0.png": picture(pixels("x")) for i in range(lacking)}
    text = refusal(partial(load, path=in_folder(tmp_path / "own", tree() | more)))
    assert "test/ lacks the classes 'c00', 'c01'" in text
    assert text.count("'c") == min(lacking, 10)
    assert (f"and {lacking - 10} more" in text) == (lacking > 10)


# The test set alone


@packs
def test_a_test_set_alone_is_enough_where_only_that_is_asked_for(
    tmp_path: Path, pack: Pack
) -> None:
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
    files = {f"test/{kind}/0.png": picture(pixels(kind)) for kind in "bc"}
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


@pytest.mark.parametrize("changed", ["RULES", "_pillow"])
def test_a_change_of_rules_or_of_pillow_decodes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    path = in_tar(tmp_path / "own.tar", tree().items())
    load(path=path)
    monkeypatch.setattr(images, changed, 99 if changed == "RULES" else lambda: "1.1.7")
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert "pip install pillow" in refusal(partial(load, path=path))
    monkeypatch.undo()


# What is wrong with a zip


def test_a_zip_with_the_paths_of_windows_is_read(tmp_path: Path) -> None:
    path = tmp_path / "own.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in tree(around="own/").items():
            info = zipfile.ZipInfo("x")
            info.filename = name.replace("/", "\\")
            packed.writestr(info, content)
    assert is_read(load(path=path))


def test_an_encrypted_zip_is_refused_by_the_name_of_a_member(tmp_path: Path) -> None:
    path = in_zip(tmp_path / "own.zip", tree())
    raw = bytearray(path.read_bytes())
    for begin, flag in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = raw.find(begin)
        while at >= 0:
            raw[at + flag] |= 1
            at = raw.find(begin, at + 1)
    path.write_bytes(raw)
    assert "is encrypted; unpack it to a folder" in refusal(partial(load, path=path))


def test_a_damaged_zip_of_images_is_refused_or_read_but_never_crashes(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("count", [3, 3000])
def test_the_error_for_a_zip_without_images_is_one_short_line(tmp_path: Path, count: int) -> None:
    path = in_zip(tmp_path / "own.zip", {f"some/where/{i}.csv": b"" for i in range(count)})
    text = refusal(partial(load, path=path))
    assert "holds no pictures such as train/<class>/<name>.png" in text
    assert len(text) < 500
