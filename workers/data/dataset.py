"""The one record that training reads, and the way from four raw arrays to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocol.errors import DataError
from protocol.facts import summary
from workers.data.arrays import inputs, storage, targets
from workers.data.notes import of_inputs, of_labels

KEYS = ("x_train", "y_train", "x_test", "y_test")
TESTS = KEYS[2:]


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Examples and what is to be learned of them, split into training and test.

    `x_train`, `x_test`: `(n, *shape)`, integers of their stored width or float32.
    `y_train`, `y_test`: int64 class labels `(n,)`, or float32 targets `(n, k)`.
    `classes`: number of classes, or `k` for float targets.
    `scale`: what the first layer multiplies integer inputs by (1.0 for floats).
    `notes`: one line for each thing about the data that a user should know before training.
    `class_names`: the names of the classes, in the order of their numbers, where they have names.

    The training set has no examples where only the test set was asked for.
    """

    name: str
    x_train: NDArray[np.generic]
    y_train: NDArray[np.generic]
    x_test: NDArray[np.generic]
    y_test: NDArray[np.generic]
    classes: int
    scale: float
    notes: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return self.x_train.shape[1:]

    @property
    def labelled(self) -> bool:
        """Whether there are class labels, and no target values."""
        return self.y_test.ndim == 1

    @property
    def labels(self) -> NDArray[np.int64]:
        """The class numbers that occur, in order; none where there are target values."""
        if not self.labelled:
            return np.empty(0, np.int64)
        return np.union1d(self.y_train, self.y_test)

    @property
    def summary(self) -> str:
        """One line: `digits: 1,437 training and 360 test examples of 8x8, 10 classes`."""
        name = self.name if self.name.isprintable() else repr(self.name)
        classes = len(self.labels) or self.classes
        counts = len(self.x_train), len(self.x_test)
        return f"{name}: {summary(self.shape, classes, self.labelled, *counts)}"


def build(
    name: str,
    arrays: Mapping[str, NDArray[np.generic]],
    source: str,
    notes: tuple[str, ...] = (),
    class_names: tuple[str, ...] = (),
) -> Dataset:
    """The data set of the arrays named in `KEYS`; `source` names their file in errors.

    Those of the training set may be missing; the training set then has no examples. `notes` says
    how the arrays were read; `class_names` may hold the names of more classes than have examples.
    Raises DataError for arrays that cannot be trained on, or that do not fit one another.
    """
    parts = [part for part in ("train", "test") if f"x_{part}" in arrays]
    x, y = {}, {}
    for part in parts:
        raw_x, raw_y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        x[part] = inputs(raw_x, f"{source}: x_{part}")
        _refuse_row(raw_y, len(raw_x), f"{source}: y_{part}")
        y[part] = targets(raw_y, f"{source}: y_{part}")
        _same_count(x[part], y[part], part, source)
    if "train" in x:
        _same_inputs(arrays["x_train"], arrays["x_test"], source)
        _same_targets(y["train"], y["test"], source)
    else:
        x["train"], y["train"] = x["test"][:0], y["test"][:0]
    scale = _scale(arrays[f"x_{parts[0]}"])
    # The scale of integers is that of the training set.
    looked_at = [part for part in parts if part == "train" or x[part].dtype.kind == "f"]
    odd = [note for part in looked_at for note in of_inputs(f"x_{part}", x[part], scale)][:1]
    if y["test"].ndim == 1 and "train" in parts:
        odd += of_labels(y["train"], y["test"])
    return Dataset(
        name=name,
        x_train=x["train"],
        y_train=y["train"],
        x_test=x["test"],
        y_test=y["test"],
        classes=max(_classes([y[part] for part in parts]), len(class_names)),
        scale=scale,
        notes=(*notes, *odd),
        class_names=class_names,
    )


def _refuse_row(y: NDArray[np.generic], examples: int, label: str) -> None:
    """Refuse labels in one row, `(1, n)`, as MATLAB saves them."""
    if y.ndim == 2 and y.shape == (1, examples) and examples > 1:
        raise DataError(
            f"{label}: shape {y.shape} is one row; save y.reshape(-1), of shape {(examples,)}"
        )


def _same_count(x: NDArray[np.generic], y: NDArray[np.generic], part: str, source: str) -> None:
    if len(x) == len(y):
        return
    mend = "give one target an example"
    if x.shape[-1] == len(y):
        mend = f"the examples are along the last axis: save numpy.moveaxis(x_{part}, -1, 0)"
    raise DataError(f"{source}: x_{part} has {len(x)} examples but y_{part} has {len(y)}; {mend}")


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


def _classes(y: Sequence[NDArray[np.generic]]) -> int:
    if y[0].ndim == 2:
        return int(y[0].shape[1])
    return 1 + max(int(np.max(labels)) for labels in y)


def _scale(raw: NDArray[np.generic]) -> float:
    """What brings integers into [-1, 1]; of the array as it was stored (bool: already there)."""
    if raw.dtype.kind in "fb":
        return 1.0
    if raw.dtype == np.uint8:
        return 1 / 255
    # Not abs(): the smallest value of a signed type has no positive twin in that type.
    return 1 / max(int(raw.max()), -int(raw.min()), 1)
