"""Read the pipeline and the weights that a run left."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final, cast

from safetensors import safe_open

from coordinator.run_folder.layout import PIPELINE, WEIGHTS
from protocol import Array, Pipeline, RunError, read_pipeline
from protocol.saved_weights import SavedWeights

_NUMPY_DTYPES: Final = re.compile("BOOL|[UI](8|16|32|64)|F(16|32|64)|C64")
"""The array types of a safetensors file that numpy has too."""


def read_run_pipeline(folder: Path, overrides: Collection[str] = ()) -> Pipeline:
    """The pipeline of the run in `folder`, with `overrides`. Raises RunError without a run."""
    if not (folder / PIPELINE).is_file():
        raise RunError(f"{folder}: holds no run; a run folder has a {PIPELINE}")
    return read_pipeline(folder / PIPELINE, overrides)


def read_run(folder: Path, overrides: Collection[str] = ()) -> tuple[Pipeline, list[SavedWeights]]:
    """The pipeline of the run in `folder`, with `overrides`, and the saved state of each layer.

    Raises RunError if the folder holds no run, or an incomplete one.
    """
    pipeline = read_run_pipeline(folder, overrides)
    paths = (folder / WEIGHTS / f"{name}.safetensors" for name in pipeline.stages[1:])
    return pipeline, [_read_layer(path) for path in paths]


def _read_layer(path: Path) -> SavedWeights:
    arrays: dict[str, Array] = {}
    key = ""
    try:
        with path.open("rb"):
            pass  # safetensors does not report why it cannot open a file
        with safe_open(path, "numpy") as file:
            for key in file.keys():  # noqa: SIM118
                _require_numpy_dtype(path, key, file.get_slice(key))
                arrays[key] = cast(Array, file.get_tensor(key))
            return SavedWeights(str(path), arrays, dict(file.metadata() or {}))
    except FileNotFoundError:
        raise RunError(f"{path}: is missing; the run left no weights of this layer") from None
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from None
    except RunError:
        raise
    # Every exception: safetensors does not document what it raises for broken files.
    except Exception as error:
        raise RunError(
            f"{path}: {key or 'its header'} cannot be read: {textwrap.shorten(str(error), 160)}; "
            "the file is truncated or damaged"
        ) from None


def _require_numpy_dtype(path: Path, name: str, array: Any) -> None:
    """Raise RunError for an array of a type that numpy does not have, such as bfloat16."""
    dtype = array.get_dtype()
    if not _NUMPY_DTYPES.fullmatch(dtype):
        label = dtype.replace("BF", "bfloat").replace("F8", "float8").lower()
        raise RunError(
            f"{path}: {name} is {label} {tuple(array.get_shape())}; the pipeline needs float32: "
            "convert the array, or train again"
        )
