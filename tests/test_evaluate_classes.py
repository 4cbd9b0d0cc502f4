"""`dni evaluate` matches the classes of a run by name."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from cli import evaluate
from protocol import DataError, RunError, SpecError
from protocol.dataset_info import DatasetInfo, usable_class_names
from tests.data_help import saved
from tests.data_images import Files, image, in_folder
from tests.evaluate_help import TESTS, X, Y, judged, refusal, trained

pytestmark = pytest.mark.usefixtures("own_folders")


def as_classes(
    names: str, digits: str = "012", used_splits: tuple[str, ...] = ("train", "test")
) -> Files:
    """A tree of images whose labels are among `digits`, in the class that `names` has there."""
    called = dict(zip(digits, names, strict=True))
    splits = {"train": range(40), "test": range(40, 60)}
    return {
        f"{split}/{called[str(Y[i])]}/{i}.png": image(X[i])
        for split in used_splits
        for i in splits[split]
        if str(Y[i]) in called
    }


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run on an image folder with the classes a, b and c."""
    folder = tmp_path_factory.mktemp("named")
    in_folder(folder / "tree", as_classes("abc"))
    trained(folder, "data.path=" + str(folder / "tree"))
    return folder


@pytest.mark.parametrize(("names", "digits"), [("bc", "12"), ("c", "2"), ("ac", "02"), ("b", "1")])
@pytest.mark.parametrize("used_splits", [("test",), ("train", "test")])
def test_classes_are_numbered_by_the_names_in_the_run(
    named: Path, tmp_path: Path, names: str, digits: str, used_splits: tuple[str, ...]
) -> None:
    tests = {key: a[np.isin(Y[40:], [int(d) for d in digits])] for key, a in TESTS.items()}
    lines: list[str] = []
    path = in_folder(tmp_path / "own", as_classes(names, digits, used_splits))
    found = evaluate(named / "run", (f"data.path={path}",), lines.append)
    expected = judged(named, saved(tmp_path, tests))
    assert (found.loss, found.errors, found.judged) == pytest.approx(expected)
    assert lines == []


@pytest.mark.parametrize(
    ("names", "unknown"), [("bxy", "'x', 'y'"), ("abd", "'d'"), ("ABC", "'A', 'B', 'C'")]
)
@pytest.mark.parametrize("used_splits", [("test",), ("train", "test")])
def test_the_error_for_an_unknown_class_names_it(
    named: Path, tmp_path: Path, names: str, unknown: str, used_splits: tuple[str, ...]
) -> None:
    path = in_folder(tmp_path / "own", as_classes(names, used_splits=used_splits))
    text = refusal(lambda: judged(named, path), DataError)
    assert text.startswith(f"{path}: the test set has the class {unknown}, which the run was not")
    assert text.endswith("it knows 'a', 'b', 'c'")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, which tests read only."""
    folder = tmp_path_factory.mktemp("trained")
    trained(folder)
    return folder


def test_a_run_without_class_names_gives_a_note(folder: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    path = in_folder(tmp_path / "own", as_classes("xyz", used_splits=("test",)))
    evaluate(folder / "run", (f"data.path={path}",), lines.append)
    (note,) = lines
    assert note.startswith("note: the run has no class names")
    assert note.endswith("by the folders of the test set: 0 is 'x', 1 is 'y', 2 is 'z'")


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        ((), False),
        (("a", "b"), True),
        (("\xe4", "\u72ac"), True),
        (("\udcff", "b"), False),
        (tuple(map(str, range(1000))), True),
        (tuple(map(str, range(1001))), False),
        (("a" * 70_000, "b"), False),
    ],
)
def test_class_names_that_messages_cannot_hold_are_dropped(
    names: tuple[str, ...], kept: bool
) -> None:
    assert usable_class_names(names) == (names if kept else None)


@pytest.mark.parametrize("names", [(), ("a",), ("a", "b", "c")])
def test_a_wrong_number_of_class_names_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(SpecError, match="class_names: "):
        DatasetInfo((4,), "<f4", 1.0, 2, True, 4, 2, class_names=names)


@pytest.mark.parametrize("value", ["", "{}", "[1]", "a"])
def test_invalid_class_names_are_refused(named: Path, tmp_path: Path, value: str) -> None:
    shutil.copytree(named / "run", tmp_path / "run")
    path = tmp_path / "run" / "weights" / "layer0.safetensors"
    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
    save_file(load_file(path), path, metadata | {"class_names": value})
    text = refusal(lambda: judged(tmp_path, named / "tree"), RunError)
    assert text.startswith(f"{path}: its metadata cannot be read: ")
