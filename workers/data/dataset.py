"""The one record that training reads, and the way from four raw arrays to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocol.errors import DataError
from workers.data.arrays import inputs, storage, targets

KEYS = ("x_train", "y_train", "x_test", "y_test")


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Examples and what is to be learned of them, split into training and test.

    `x_train`, `x_test`: `(n, *shape)`, integers of their stored width or float32.
    `y_train`, `y_test`: int64 class labels `(n,)`, or float32 targets `(n, k)`.
    `classes`: number of classes, or `k` for float targets.
    `scale`: what the first layer multiplies integer inputs by (1.0 for floats).
    """

    name: str
    x_train: NDArray[np.generic]
    y_train: NDArray[np.generic]
    x_test: NDArray[np.generic]
    y_test: NDArray[np.generic]
    classes: int
    scale: float

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return self.x_train.shape[1:]


def build(name: str, arrays: Mapping[str, NDArray[np.generic]], source: str) -> Dataset:
    """The data set of the four arrays named in `KEYS`; `source` names their file in errors.

    Raises DataError for arrays that cannot be trained on, or that do not fit one another.
    """
    x = {key: inputs(arrays[key], f"{source}: {key}") for key in ("x_train", "x_test")}
    y = {key: targets(arrays[key], f"{source}: {key}") for key in ("y_train", "y_test")}
    for part in ("train", "test"):
        _same_count(len(x[f"x_{part}"]), len(y[f"y_{part}"]), part, source)
    _same_inputs(arrays["x_train"], arrays["x_test"], source)
    _same_targets(y["y_train"], y["y_test"], source)
    return Dataset(
        name=name,
        **x,
        **y,
        classes=_classes(y["y_train"], y["y_test"]),
        scale=_scale(arrays["x_train"]),
    )


def _same_count(x: int, y: int, part: str, source: str) -> None:
    if x != y:
        raise DataError(
            f"{source}: x_{part} has {x} examples but y_{part} has {y}; give one target an example"
        )


def _same_inputs(train: NDArray[np.generic], test: NDArray[np.generic], source: str) -> None:
    if train.shape[1:] != test.shape[1:]:
        raise DataError(
            f"{source}: an example of x_train has shape {train.shape[1:]} but one of x_test "
            f"{test.shape[1:]}; give both the same shape"
        )
    if storage(train.dtype) != storage(test.dtype):
        raise DataError(
            f"{source}: x_train is {train.dtype} but x_test {test.dtype}; "
            f"save both with the same dtype"
        )


def _same_targets(train: NDArray[np.generic], test: NDArray[np.generic], source: str) -> None:
    if train.dtype != test.dtype or train.shape[1:] != test.shape[1:]:
        raise DataError(
            f"{source}: y_train holds {_kind(train)} but y_test {_kind(test)}; make them alike"
        )


def _kind(y: NDArray[np.generic]) -> str:
    return "class labels" if y.ndim == 1 else f"float targets of width {y.shape[1]}"


def _classes(train: NDArray[np.generic], test: NDArray[np.generic]) -> int:
    if train.ndim == 2:
        return int(train.shape[1])
    return 1 + max(int(train.max()), int(test.max()))


def _scale(raw: NDArray[np.generic]) -> float:
    """What brings integers into [-1, 1]; of the array as it was stored (bool: already there)."""
    if raw.dtype.kind in "fb":
        return 1.0
    if raw.dtype == np.uint8:
        return 1 / 255
    # Not abs(): the smallest value of a signed type has no positive twin in that type.
    return 1 / max(int(raw.max()), -int(raw.min()), 1)
