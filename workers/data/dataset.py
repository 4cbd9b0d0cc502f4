"""The data set that training reads, and its construction from four raw arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocol.dataset_info import dataset_summary
from protocol.errors import DataError
from workers.data.arrays import checked_inputs, checked_targets, storage_dtype
from workers.data.listing import listed
from workers.data.notes import notes_on_inputs, notes_on_labels, notes_on_scales

KEYS = ("x_train", "y_train", "x_test", "y_test")
TESTS = KEYS[2:]
_FEW = 1000
"""The largest number of distinct target values that may be class numbers."""


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Examples and their targets, split into a training set and a test set.

    `x_train`, `x_test`: `(n, *shape)`, integers of their stored width or float32.
    `y_train`, `y_test`: int64 class labels `(n,)`, or float32 targets `(n, k)`.
    `classes`: the number of classes, or `k` for float targets.
    `scale`: the factor by which the first layer multiplies integer inputs (1.0 for floats).
    `notes`: one line for each property of the data that a user should know before training.
    `class_names`: the names of the classes in the order of their numbers; empty without names.

    The training set is empty if only the test set was loaded.
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
        """The shape of one example."""
        return self.x_train.shape[1:]

    @property
    def labelled(self) -> bool:
        """Whether the targets are class labels, not values."""
        return self.y_test.ndim == 1

    @property
    def labels(self) -> NDArray[np.int64]:
        """The class labels that occur, sorted; empty for target values."""
        if not self.labelled:
            return np.empty(0, np.int64)
        return np.union1d(self.y_train, self.y_test)

    @property
    def maybe_labels(self) -> NDArray[np.generic]:
        """The target values that occur, sorted, if they may be class numbers saved as floats: one
        value per example, few distinct ones, all whole. Else empty."""
        none = np.empty(0, np.float32)
        if self.labelled or self.classes != 1 or not len(self.y_train):
            return none
        found = np.unique(self.y_train)
        few = 1 < len(found) <= min(_FEW, len(self.y_train) / 2)
        return found if few and found[0] >= 0 and (found == np.rint(found)).all() else none

    @property
    def summary(self) -> str:
        """A line such as `digits: 1,437 training and 360 test examples of 8x8, 10 classes`."""
        name = self.name if self.name.isprintable() else repr(self.name)
        classes = len(self.labels) or self.classes
        counts = len(self.x_train), len(self.x_test)
        return f"{name}: {dataset_summary(self.shape, classes, self.labelled, *counts)}"


def build_dataset(
    name: str,
    arrays: Mapping[str, NDArray[np.generic]],
    source: str,
    notes: tuple[str, ...] = (),
    class_names: tuple[str, ...] = (),
) -> Dataset:
    """The data set of the arrays named in `KEYS`; `source` names their file in errors.

    The arrays of the training set may be missing; the training set is empty then. `notes` describe
    how the arrays were read. `class_names` may name more classes than have examples. Raises
    DataError for arrays that cannot be trained on, or that do not fit together.
    """
    splits = [split for split in ("train", "test") if f"x_{split}" in arrays]
    x, y = {}, {}
    for split in splits:
        x[split], y[split] = _checked_split(arrays, split, source)
    if "train" in x:
        _same_inputs(arrays["x_train"], arrays["x_test"], source)
        _same_targets(y["train"], y["test"], source)
        _same_numbers(y["train"], y["test"], source)
    else:
        x["train"], y["train"] = x["test"][:0], y["test"][:0]
    scale = _scale(arrays[f"x_{splits[0]}"])
    return Dataset(
        name=name,
        x_train=x["train"],
        y_train=y["train"],
        x_test=x["test"],
        y_test=y["test"],
        classes=max(_classes([y[split] for split in splits]), len(class_names)),
        scale=scale,
        notes=(*notes, *_notes(x, y, splits, scale)),
        class_names=class_names,
    )


def _checked_split(
    arrays: Mapping[str, NDArray[np.generic]], split: str, source: str
) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    """The validated inputs and targets of a split, "train" or "test"."""
    raw_x, raw_y = arrays[f"x_{split}"], arrays[f"y_{split}"]
    x = checked_inputs(raw_x, f"{source}: x_{split}")
    _refuse_transposed(raw_x, raw_y, split, source)
    y = checked_targets(raw_y, f"{source}: y_{split}")
    _same_count(x, y, split, source)
    return x, y


def _notes(
    x: Mapping[str, NDArray[np.generic]],
    y: Mapping[str, NDArray[np.generic]],
    splits: Sequence[str],
    scale: float,
) -> list[str]:
    """Notes on the values of the arrays. The scale of integers is that of the training set."""
    checked = [split for split in splits if split == "train" or x[split].dtype.kind == "f"]
    notes = [note for split in checked for note in notes_on_inputs(f"x_{split}", x[split], scale)]
    notes = notes[:1]
    if "train" in splits:
        notes = notes_on_scales(x["train"], x["test"]) or notes
        if y["test"].ndim == 1:
            notes += notes_on_labels(y["train"], y["test"])
    return notes


def _refuse_transposed(
    x: NDArray[np.generic], y: NDArray[np.generic], split: str, source: str
) -> None:
    """Refuse targets with the examples along the last axis, `(1, n)` or `(k, n)`, as in MATLAB."""
    if y.ndim != 2 or len(y) == len(x) or y.shape[1] < 2:
        return
    too = ""
    if y.shape[1] == x.shape[-1] != len(x):
        too = f", and numpy.moveaxis(x_{split}, -1, 0)"
    if len(y) == 1 and (y.shape[1] == len(x) or too or y.dtype.kind in "iu"):
        raise DataError(
            f"{source}: y_{split}: shape {y.shape} is one row; save y.reshape(-1), of shape "
            f"{(y.shape[1],)}{too}"
        )
    if y.shape[1] == len(x) or too:
        raise DataError(
            f"{source}: y_{split}: shape {y.shape} has the examples along the last axis; "
            f"save y_{split}.T{too}"
        )


def _same_count(x: NDArray[np.generic], y: NDArray[np.generic], split: str, source: str) -> None:
    if len(x) == len(y):
        return
    remedy = "give one target per example"
    if x.shape[-1] == len(y):
        remedy = f"the examples are along the last axis: save numpy.moveaxis(x_{split}, -1, 0)"
    raise DataError(
        f"{source}: x_{split} has {len(x)} examples but y_{split} has {len(y)}; {remedy}"
    )


def _same_inputs(train: NDArray[np.generic], test: NDArray[np.generic], source: str) -> None:
    if train.shape[1:] != test.shape[1:]:
        raise DataError(
            f"{source}: an example of x_train has shape {train.shape[1:]} but one of x_test "
            f"{test.shape[1:]}; give both the same shape"
        )
    if storage_dtype(train.dtype) != storage_dtype(test.dtype):
        raise DataError(
            f"{source}: x_train is {train.dtype} but x_test {test.dtype}; "
            f"save both with the same dtype"
        )


def _same_targets(train: NDArray[np.generic], test: NDArray[np.generic], source: str) -> None:
    if train.dtype == test.dtype and train.shape[1:] == test.shape[1:]:
        return
    remedy = "give both the same width"
    if train.ndim != test.ndim:
        floats, labels = ("y_train", "y_test") if train.ndim == 2 else ("y_test", "y_train")
        width = (train if train.ndim == 2 else test).shape[1]
        cast = f"{floats}.astype('int64')" if width == 1 else f"{floats}.argmax(axis=1)"
        remedy = f"save {cast} for class labels"
        if width == 1:
            remedy += f", or {labels}.astype('float32') for target values"
    raise DataError(f"{source}: y_train holds {_kind(train)} but y_test {_kind(test)}; {remedy}")


def _same_numbers(train: NDArray[np.generic], test: NDArray[np.generic], source: str) -> None:
    """Refuse labels of the test set that are those of the training set plus a constant."""
    if train.ndim == 2:
        return
    known, tested = np.unique(train), np.unique(test)
    lows = {"y_train": int(known[0]), "y_test": int(tested[0])}
    alike = len(known) == len(tested) > 1 and np.array_equal(np.diff(known), np.diff(tested))
    if alike and lows["y_train"] != lows["y_test"]:
        remedy = " and ".join(f"{key} - {low}" for key, low in lows.items() if low)
        raise DataError(
            f"{source}: y_train holds the labels {listed(known)} but y_test {listed(tested)}: they "
            f"are numbered differently; save {remedy}"
        )


def _kind(y: NDArray[np.generic]) -> str:
    return "class labels" if y.ndim == 1 else f"float targets of width {y.shape[1]}"


def _classes(y: Sequence[NDArray[np.generic]]) -> int:
    if y[0].ndim == 2:
        return int(y[0].shape[1])
    return 1 + max(int(np.max(labels)) for labels in y)


def _scale(raw: NDArray[np.generic]) -> float:
    """The factor that scales the stored integers to [-1, 1]; 1 for bool and float."""
    if raw.dtype.kind in "fb":
        return 1.0
    if raw.dtype == np.uint8:
        return 1 / 255
    # Not abs(): the negated minimum of a signed type overflows.
    return 1 / max(int(raw.max()), -int(raw.min()), 1)
