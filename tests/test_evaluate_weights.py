"""`dni evaluate` needs weights that fit the pipeline; an error names what is wrong."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from cli import evaluate
from protocol import RunError
from tests.data_help import Array, saved
from tests.evaluate_help import TESTS, X, changed, judged, refusal, trained

pytestmark = pytest.mark.usefixtures("own_folders")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, which tests read only."""
    folder = tmp_path_factory.mktemp("trained")
    trained(folder)
    return folder


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
    "unknown": (
        lambda c: c.update(a=c[W], b=c[W]),
        "holds a, b, which the pipeline does not have; it",
    ),
    "nan": (with_value(np.nan), f"{W} holds NaN or infinity"),
    "infinity": (with_value(-np.inf), f"{W} holds NaN or infinity"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_the_error_for_wrong_weights_names_file_and_array(
    folder: Path, tmp_path: Path, name: str
) -> None:
    change, expected = SPOILED[name]
    path = changed(folder, tmp_path, change)
    text = refusal(lambda: judged(tmp_path, folder / "d.npz"), RunError)
    assert text.startswith(f"{path}: ")
    assert expected in text


def test_optimiser_state_is_not_needed(folder: Path, tmp_path: Path) -> None:
    def change(content: dict[str, Array]) -> None:
        for name in [name for name in content if name.startswith("optimizer.")]:
            del content[name]

    changed(folder, tmp_path, change)
    assert judged(tmp_path, folder / "d.npz") == judged(folder, folder / "d.npz")


@pytest.mark.parametrize(("saved_layer", "path_layer"), [(1, 0), (0, 1), (2, 1)])
def test_the_weights_of_another_layer_are_refused(
    folder: Path, tmp_path: Path, saved_layer: int, path_layer: int
) -> None:
    shutil.copytree(folder / "run", tmp_path / "run")
    weights = tmp_path / "run" / "weights"
    path = weights / f"layer{path_layer}.safetensors"
    shutil.copy(weights / f"layer{saved_layer}.safetensors", path)
    text = refusal(lambda: judged(tmp_path, folder / "d.npz"), RunError)
    assert text == f"{path}: holds the weights of 'layer{saved_layer}', not of layer{path_layer}"


@pytest.mark.parametrize("kept", [0, 5, 100, 0.5, 0.99])
def test_the_error_for_a_truncated_weights_file_says_so(
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
    assert text == f"{path}: is missing; the run left no weights of this layer"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("shape", "none"),
        ("shape", "0x8"),
        ("shape", ""),
        ("dtype", "wide"),
        ("dtype", "O"),
        ("dtype", "<c8"),
        ("scale", "large"),
        ("scale", "nan"),
        ("scale", "-1"),
        ("scale", "inf"),
    ],
)
def test_invalid_metadata_are_refused(folder: Path, tmp_path: Path, key: str, value: str) -> None:
    shutil.copytree(folder / "run", tmp_path / "run")
    path = tmp_path / "run" / "weights" / "layer0.safetensors"
    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
    save_file(load_file(path), path, metadata | {key: value})
    text = refusal(lambda: judged(tmp_path, folder / "d.npz"), RunError)
    assert text.startswith(f"{path}: its metadata cannot be read: ")


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "f4"])
def test_integers_of_unknown_scale_give_a_note(folder: Path, tmp_path: Path, dtype: str) -> None:
    shutil.copytree(folder / "run", tmp_path / "run")
    for path in (tmp_path / "run" / "weights").iterdir():
        save_file(load_file(path), path)
    path = saved(tmp_path, TESTS | {"x_test": (X[40:] / 200).round(0).astype(dtype)})
    lines: list[str] = []
    evaluate(tmp_path / "run", (f"data.path={path}",), lines.append)
    assert [line[:52] for line in lines] == [
        "note: the run has no record of the scale of its inte"
    ] * (dtype in ("u2", "i4"))


KINDS = {"BF16": "bfloat16", "F8_E4M3": "float8_e4m3", "F8_E5M2": "float8_e5m2"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_error_for_weights_of_an_unsupported_dtype_names_them(
    folder: Path, tmp_path: Path, kind: str
) -> None:
    path = changed(folder, tmp_path, lambda content: content)
    size = 16 * 16 * (2 if kind == "BF16" else 1)
    entry = {"dtype": kind, "shape": [16, 16], "data_offsets": [0, size]}
    header = json.dumps({W: entry}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))
    text = refusal(lambda: judged(tmp_path, folder / "d.npz"), RunError)
    assert text.startswith(f"{path}: {W} is {KINDS[kind]} (16, 16); the pipeline needs float32")


def test_the_error_for_a_folder_instead_of_weights_says_so(folder: Path, tmp_path: Path) -> None:
    path = changed(folder, tmp_path, lambda content: content)
    path.unlink()
    path.mkdir()
    text = refusal(lambda: judged(tmp_path, folder / "d.npz"), RunError)
    assert text == f"{path}: cannot be read: Is a directory"


@pytest.mark.parametrize("value", [-1e-3, -1.0, -1e30])
def test_a_negative_variance_is_refused(folder: Path, tmp_path: Path, value: float) -> None:
    shutil.copytree(folder / "run", tmp_path / "run")
    path = tmp_path / "run" / "weights" / "layer0.safetensors"
    content = load_file(path)
    content["1.batchnorm.running_var"][3] = value
    save_file(content, path)
    text = refusal(lambda: judged(tmp_path, folder / "d.npz"), RunError)
    assert (
        text
        == f"{path}: 1.batchnorm.running_var holds {value:g}, but a variance cannot be negative"
    )


def test_weights_without_metadata_are_accepted(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "run", tmp_path / "run")
    for path in (tmp_path / "run" / "weights").iterdir():
        save_file(load_file(path), path)
    assert judged(tmp_path, folder / "d.npz") == judged(folder, folder / "d.npz")
