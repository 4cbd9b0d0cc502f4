"""`dni evaluate` needs a test set that fits the run, and weights that fit the pipeline."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from cli import evaluate, run
from protocol import DataError, RunError, UserError, read_pipeline
from tests.data_help import Array, idx_folder, saved
from tests.data_pictures import in_folder, in_tar, picture
from workers.data import digits

pytestmark = pytest.mark.usefixtures("own_folders")

NET = """\
rule = "backprop"
[data]
path = "d.npz"
batch = 20
[train]
steps = 6
[[layer]]
modules = ["linear 16", "batchnorm", "relu"]
[[layer]]
modules = ["linear 16", "relu"]
[[layer]]
modules = ["linear 3"]
"""
RNG = np.random.default_rng(2)
X = RNG.integers(0, 200, (60, 8, 8), np.uint8)
Y = np.arange(60) % 3
TESTS: dict[str, Array] = {"x_test": X[40:], "y_test": Y[40:]}
WHOLE: dict[str, Array] = {"x_train": X[:40], "y_train": Y[:40], **TESTS}


def trained(folder: Path, *words: str, text: str = NET) -> Path:
    """The folder of a run on the arrays `WHOLE`."""
    if not (folder / "d.npz").exists():
        saved(folder, WHOLE).rename(folder / "d.npz")
    (folder / "net.toml").write_text(text, "utf-8")
    pipeline = read_pipeline(folder / "net.toml", words)
    result = run(pipeline, engine="inline", run_dir=folder / "run")
    assert result.end.outcome == "completed", result.end
    return result.folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run in it, which no test changes."""
    folder = tmp_path_factory.mktemp("trained")
    trained(folder)
    return folder


def judged(folder: Path, path: Path, *words: str) -> tuple[float, int, int]:
    found = evaluate(folder / "run", (f"data.path={path}", *words))
    return found.loss, found.errors, found.judged


def refusal(call: Callable[[], object], kind: type[UserError]) -> str:
    with pytest.raises(kind) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# The test set


def as_npz(folder: Path) -> Path:
    return saved(folder, TESTS)


def as_idx(folder: Path) -> Path:
    content = {"x_test": TESTS["x_test"], "y_test": TESTS["y_test"].astype(np.uint8)}
    return idx_folder(folder / "idx", content, lambda name: f"{name}.gz")


def images() -> dict[str, bytes]:
    return {
        f"test/{'abc'[y]}/{i}.png": picture(x)
        for i, (x, y) in enumerate(zip(X[40:], Y[40:], strict=True))
    }


def as_tree(folder: Path) -> Path:
    return in_folder(folder / "tree", images())


def as_tar(folder: Path) -> Path:
    return in_tar(folder / "tree.tar", images().items())


@pytest.mark.parametrize("made", [as_npz, as_idx, as_tree, as_tar])
def test_a_test_set_alone_is_enough(
    folder: Path, tmp_path: Path, made: Callable[[Path], Path]
) -> None:
    expected = judged(folder, folder / "d.npz")
    assert judged(folder, made(tmp_path)) == pytest.approx(expected)


@pytest.mark.parametrize("count", [1, 3, 19])
def test_examples_that_fill_no_batch_are_enough(folder: Path, tmp_path: Path, count: int) -> None:
    few: dict[str, Array] = {key: array[:count] for key, array in TESTS.items()}
    assert judged(folder, saved(tmp_path, few))[2] == count
    for extra in (0, 2):
        content = few | {"x_train": X[:extra], "y_train": Y[:extra]} if extra else few
        assert judged(folder, saved(tmp_path, content))[2] == count


@pytest.mark.parametrize("word", ["data.batch=1000", "data.batch=1", 'data.augment=["crop 9"]'])
def test_checks_for_training_alone_do_not_apply(folder: Path, word: str) -> None:
    assert judged(folder, folder / "d.npz", word)[1:] == judged(folder, folder / "d.npz")[1:]


@pytest.mark.parametrize("shape", [(28, 28), (9,), (8, 8, 3)])
def test_examples_of_another_shape_are_refused(
    folder: Path, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    path = saved(tmp_path, {"x_test": np.zeros((6, *shape), np.uint8), "y_test": Y[:6]})
    text = refusal(lambda: judged(folder, path), DataError)
    assert f"has shape {shape}, but the run was trained on (8, 8)" in text


@pytest.mark.parametrize("shape", [(64,), (4, 16)])
def test_the_same_numbers_in_another_shape_are_enough_for_linear_layers(
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
    told: list[str] = []
    found = evaluate(folder / "run", (f"data.path={path}",), told.append)
    assert [line for line in told if "but the run was trained on uint8" in line] == told
    assert told[0].startswith(f"note: x_test is {np.dtype(kind)}, ")
    if kind == "f4":
        assert found.errors == judged(folder, folder / "d.npz")[1]


# The weights


def changed(folder: Path, tmp_path: Path, change: Callable[[dict[str, Array]], object]) -> Path:
    """A copy of the run whose layer 1 is changed; returns its weights' file."""
    shutil.copytree(folder / "run", tmp_path / "run")
    path = tmp_path / "run" / "weights" / "layer1.safetensors"
    with safe_open(path, "numpy") as file:
        facts = file.metadata()
    content: dict[str, Any] = load_file(path)
    change(content)
    save_file(content, path, facts)
    return path


W, B = "0.linear.weight", "0.linear.bias"


def with_value(value: float) -> Callable[[dict[str, Array]], object]:
    def change(c: dict[str, Array]) -> None:
        c[W] = c[W].copy()
        c[W].flat[3] = value

    return change


SPOILED: dict[str, tuple[Callable[[dict[str, Array]], object], str]] = {
    "float64": (lambda c: c.update({W: c[W].astype("f8")}), f"{W} is float64 (16, 16); the pipel"),
    "float16": (lambda c: c.update({B: c[B].astype("f2")}), f"{B} is float16 (16,); the pipeline"),
    "int32": (lambda c: c.update({W: c[W].view("i4")}), "needs float32 (16, 16)"),
    "shape": (lambda c: c.update({W: c[W][:5]}), f"{W} is float32 (5, 16); the pipeline needs"),
    "turned": (lambda c: c.update({B: c[B][None]}), f"{B} is float32 (1, 16); the pipeline needs"),
    "missing": (lambda c: c.pop(W), f"{W} is missing; the pipeline needs float32 (16, 16)"),
    "empty": (lambda c: c.clear(), f"{W} is missing"),
    "more": (lambda c: c.update({"3.linear.weight": c[W]}), "holds 3.linear.weight, which the pip"),
    "strange": (lambda c: c.update(a=c[W], b=c[W]), "holds a, b, which the pipeline has not; it"),
    "nan": (with_value(np.nan), f"{W} holds NaN or infinity"),
    "infinity": (with_value(-np.inf), f"{W} holds NaN or infinity"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_weights_that_do_not_fit_are_refused_by_file_and_array(
    folder: Path, tmp_path: Path, name: str
) -> None:
    change, said = SPOILED[name]
    path = changed(folder, tmp_path, change)
    text = refusal(lambda: judged(tmp_path, folder / "d.npz"), RunError)
    assert text.startswith(f"{path}: ")
    assert said in text


def test_optimiser_state_is_not_needed(folder: Path, tmp_path: Path) -> None:
    def change(content: dict[str, Array]) -> None:
        for name in [name for name in content if name.startswith("optimizer.")]:
            del content[name]

    changed(folder, tmp_path, change)
    assert judged(tmp_path, folder / "d.npz") == judged(folder, folder / "d.npz")


@pytest.mark.parametrize(("there", "put"), [(1, 0), (0, 1), (2, 1)])
def test_the_weights_of_another_layer_are_refused(
    folder: Path, tmp_path: Path, there: int, put: int
) -> None:
    shutil.copytree(folder / "run", tmp_path / "run")
    weights = tmp_path / "run" / "weights"
    path = weights / f"layer{put}.safetensors"
    shutil.copy(weights / f"layer{there}.safetensors", path)
    text = refusal(lambda: judged(tmp_path, folder / "d.npz"), RunError)
    assert text == f"{path}: holds the weights of 'layer{there}', not of layer{put}"


@pytest.mark.parametrize("kept", [0, 5, 100, 0.5, 0.99])
def test_a_truncated_weights_file_is_called_truncated(
    folder: Path, tmp_path: Path, kept: float
) -> None:
    path = changed(folder, tmp_path, lambda content: content)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept if kept >= 1 else kept * len(whole))])
    text = refusal(lambda: judged(tmp_path, folder / "d.npz"), RunError)
    assert text.startswith(f"{path}: ")
    assert text.endswith("the file is truncated or damaged")
    path.unlink()
    text = refusal(lambda: judged(tmp_path, folder / "d.npz"), RunError)
    assert text == f"{path}: is not there; the run left no weights of this layer"


@pytest.mark.parametrize(
    ("key", "value"), [("shape", "none"), ("dtype", "wide"), ("scale", "large")]
)
def test_invalid_metadata_are_refused(folder: Path, tmp_path: Path, key: str, value: str) -> None:
    shutil.copytree(folder / "run", tmp_path / "run")
    path = tmp_path / "run" / "weights" / "layer0.safetensors"
    with safe_open(path, "numpy") as file:
        facts = file.metadata()
    save_file(load_file(path), path, facts | {key: value})
    text = refusal(lambda: judged(tmp_path, folder / "d.npz"), RunError)
    assert text.startswith(f"{path}: its metadata cannot be read: ")


def test_weights_without_metadata_are_accepted(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "run", tmp_path / "run")
    for path in (tmp_path / "run" / "weights").iterdir():
        save_file(load_file(path), path)
    assert judged(tmp_path, folder / "d.npz") == judged(folder, folder / "d.npz")
