"""`dni evaluate` needs a test set that fits the run, and no training set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cli import evaluate
from protocol import DataError
from tests.data_help import Array, idx_folder, saved
from tests.data_images import image, in_folder, in_tar
from tests.evaluate_help import NET, TESTS, WHOLE, X, Y, judged, refusal, trained
from workers.data import digits, idx

pytestmark = pytest.mark.usefixtures("own_folders")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, which tests read only."""
    folder = tmp_path_factory.mktemp("trained")
    trained(folder)
    return folder


# The test set


def as_npz(folder: Path) -> Path:
    return saved(folder, TESTS)


def as_idx(folder: Path) -> Path:
    content = {"x_test": TESTS["x_test"], "y_test": TESTS["y_test"].astype(np.uint8)}
    return idx_folder(folder / "idx", content, lambda name: f"{name}.gz")


def images() -> dict[str, bytes]:
    return {
        f"test/{'abc'[y]}/{i}.png": image(x)
        for i, (x, y) in enumerate(zip(X[40:], Y[40:], strict=True))
    }


def as_tree(folder: Path) -> Path:
    return in_folder(folder / "tree", images())


def as_tar(folder: Path) -> Path:
    return in_tar(folder / "tree.tar", images().items())


@pytest.mark.parametrize("made", [as_npz, as_idx, as_tree, as_tar])
def test_evaluate_needs_no_training_set(
    folder: Path, tmp_path: Path, made: Callable[[Path], Path]
) -> None:
    expected = judged(folder, folder / "d.npz")
    assert judged(folder, made(tmp_path)) == pytest.approx(expected)


BAD_TRAINING: dict[str, dict[str, Array]] = {
    "other labels": {"y_train": Y[:40] * 100},
    "negative labels": {"y_train": Y[:40] - 5},
    "float labels": {"y_train": Y[:40] * 1.0},
    "text labels": {"y_train": np.array(["a", "b"] * 20)},
    "objects": {"x_train": np.array([None, {}])},
    "another width": {"x_train": X[:40, :3]},
    "another length": {"y_train": Y[:7]},
    "another dtype": {"x_train": X[:40] / 7},
    "not a number": {"x_train": np.full((40, 8, 8), np.nan)},
    "none": {"x_train": X[:0], "y_train": Y[:0]},
    "half": {"x_train": X[:40]},
}


@pytest.mark.parametrize("name", BAD_TRAINING)
def test_evaluate_does_not_read_the_training_set(folder: Path, tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, WHOLE | BAD_TRAINING[name])
    lines: list[str] = []
    found = evaluate(folder / "run", (f"data.path={path}",), lines.append)
    assert (found.loss, found.errors, found.judged) == judged(folder, folder / "d.npz")
    assert lines == []


@pytest.mark.parametrize("key", ["x_train", "y_train"])
@pytest.mark.parametrize("content", [b"", b"text", b"\0\0\x08\1\0\0\0\2\1"])
def test_broken_files_of_the_training_set_are_not_read(
    folder: Path, tmp_path: Path, key: str, content: bytes
) -> None:
    expected = judged(folder, as_idx(tmp_path))
    (tmp_path / "idx" / idx.NAMES[key]).write_bytes(content)
    assert judged(folder, tmp_path / "idx") == expected


@pytest.mark.parametrize("broken", [b"", b"text", image(X[0])[:40], image(X[0][:3])])
@pytest.mark.parametrize("packed", [False, True])
def test_broken_images_of_the_training_set_are_not_decoded(
    folder: Path, tmp_path: Path, broken: bytes, packed: bool
) -> None:
    files = images() | {f"train/{kind}/0.png": broken for kind in "abc"}
    if packed:
        path = in_tar(tmp_path / "tree.tar", files.items())
    else:
        path = in_folder(tmp_path / "tree", files)
    assert judged(folder, path) == pytest.approx(judged(folder, folder / "d.npz"))


@pytest.mark.parametrize("count", [1, 3, 19])
def test_a_test_set_smaller_than_a_batch_is_evaluated(
    folder: Path, tmp_path: Path, count: int
) -> None:
    few: dict[str, Array] = {key: array[:count] for key, array in TESTS.items()}
    assert judged(folder, saved(tmp_path, few))[2] == count
    for extra in (0, 2):
        content = few | {"x_train": X[:extra], "y_train": Y[:extra]} if extra else few
        assert judged(folder, saved(tmp_path, content))[2] == count


@pytest.mark.parametrize("override", ["data.batch=1000", "data.batch=1", 'data.augment=["crop 9"]'])
def test_checks_for_training_do_not_apply(folder: Path, override: str) -> None:
    assert judged(folder, folder / "d.npz", override)[1:] == judged(folder, folder / "d.npz")[1:]


@pytest.mark.parametrize("shape", [(28, 28), (9,), (8, 8, 3)])
def test_examples_of_another_shape_are_refused(
    folder: Path, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    path = saved(tmp_path, {"x_test": np.zeros((6, *shape), np.uint8), "y_test": Y[:6]})
    text = refusal(lambda: judged(folder, path), DataError)
    assert f"has shape {shape}, but the run was trained on (8, 8)" in text


@pytest.mark.parametrize("shape", [(64,), (4, 16)])
def test_linear_layers_accept_the_same_numbers_in_another_shape(
    folder: Path, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    path = saved(tmp_path, TESTS | {"x_test": X[40:].reshape(20, *shape)})
    assert judged(folder, path) == judged(folder, folder / "d.npz")


def test_a_convolution_needs_examples_of_the_trained_shape(tmp_path: Path) -> None:
    trained(tmp_path, text=NET.replace('"linear 16", "batchnorm"', '"conv 2 1", "batchnorm"'))
    path = saved(tmp_path, TESTS | {"x_test": X[40:].reshape(20, 4, 16)})
    text = refusal(lambda: judged(tmp_path, path), DataError)
    assert "has shape (4, 16), but the run was trained on (8, 8)" in text


@pytest.mark.parametrize("label", [3, 7, 1000])
def test_labels_beyond_the_outputs_are_refused(folder: Path, tmp_path: Path, label: int) -> None:
    path = saved(tmp_path, TESTS | {"y_test": np.where(Y[40:] == 0, label, 1)})
    text = refusal(lambda: judged(folder, path), DataError)
    assert f"y_test has labels up to {label}, but the run knows 3 classes, 0 to 2" in text


@pytest.mark.parametrize("targets", [Y[40:] * 1.0, np.eye(3)[Y[40:]]])
def test_float_targets_are_refused_with_cross_entropy(
    folder: Path, tmp_path: Path, targets: Array
) -> None:
    text = refusal(lambda: judged(folder, saved(tmp_path, TESTS | {"y_test": targets})), DataError)
    assert "y_test holds floats, but cross-entropy judges class labels" in text


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i8"])
def test_integers_are_scaled_as_in_training(tmp_path: Path, dtype: str) -> None:
    made = {key: a.astype(dtype) if key.startswith("x") else a for key, a in WHOLE.items()}
    saved(tmp_path, made).rename(tmp_path / "d.npz")
    trained(tmp_path)
    half = made["x_test"] // 2  # whose own largest number is another
    made["x_train"][0, 0, 0] = 250  # of other training data the scale would be another, too
    expected = judged(tmp_path, saved(tmp_path, WHOLE | made | {"x_test": half}))
    assert judged(tmp_path, saved(tmp_path, made | {"x_test": half})) == expected
    alone: dict[str, Array] = {"x_test": half, "y_test": TESTS["y_test"]}
    assert judged(tmp_path, saved(tmp_path, alone)) == expected


def test_the_digits_from_a_file_give_the_loss_of_the_embedded_ones(tmp_path: Path) -> None:
    trained(tmp_path, text=NET.replace('path = "d.npz"', 'name = "digits"').replace("3", "10"))
    embedded = evaluate(tmp_path / "run")
    with np.load(digits.PATH) as whole:
        tests = {key: whole[key] for key in ("x_test", "y_test")}
    (tmp_path / "run" / "pipeline.toml").write_text(
        (tmp_path / "run" / "pipeline.toml").read_text("utf-8").replace('name = "digits"\n', "", 1)
    )
    found = evaluate(tmp_path / "run", (f"data.path={saved(tmp_path, tests)}",))
    assert (found.loss, found.errors) == (embedded.loss, embedded.errors)


@pytest.mark.parametrize("kind", ["f4", "u2"])
def test_a_test_set_of_another_dtype_gives_a_note(folder: Path, tmp_path: Path, kind: str) -> None:
    x = X[40:] / 255 if kind == "f4" else X[40:]
    path = saved(tmp_path, TESTS | {"x_test": x.astype(kind)})
    lines: list[str] = []
    found = evaluate(folder / "run", (f"data.path={path}",), lines.append)
    assert [line for line in lines if "but the run was trained on uint8" in line] == lines
    assert lines[0].startswith(f"note: x_test is {np.dtype(kind)}, ")
    if kind == "f4":
        assert found.errors == judged(folder, folder / "d.npz")[1]
