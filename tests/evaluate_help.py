"""A small run and its evaluation, for tests of `dni evaluate`."""

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
from protocol import UserError, read_pipeline
from tests.data_help import Array, saved

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


def trained(folder: Path, *overrides: str, text: str = NET) -> Path:
    """The folder of a run on the arrays `WHOLE`."""
    if not (folder / "d.npz").exists():
        saved(folder, WHOLE).rename(folder / "d.npz")
    (folder / "net.toml").write_text(text, "utf-8")
    pipeline = read_pipeline(folder / "net.toml", overrides)
    result = run(pipeline, engine="inline", run_dir=folder / "run")
    assert result.end.outcome == "completed", result.end
    return result.folder


def judged(folder: Path, path: Path, *overrides: str) -> tuple[float, int, int]:
    found = evaluate(folder / "run", (f"data.path={path}", *overrides))
    return found.loss, found.errors, found.judged


def refusal(call: Callable[[], object], kind: type[UserError]) -> str:
    with pytest.raises(kind) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def changed(folder: Path, tmp_path: Path, change: Callable[[dict[str, Array]], object]) -> Path:
    """A copy of the run whose layer 1 is changed; returns the path of its weights."""
    shutil.copytree(folder / "run", tmp_path / "run")
    path = tmp_path / "run" / "weights" / "layer1.safetensors"
    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
    content: dict[str, Any] = load_file(path)
    change(content)
    save_file(content, path, metadata)
    return path
