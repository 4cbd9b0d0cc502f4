"""Validates one array of a user's data set.

Integer inputs keep their stored width. The first layer scales each batch, so that there is never a
float copy of a whole data set.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from protocol.errors import DataError
from workers.data.notes import UNIQUE

_LAST_LABEL = 2**31 - 2


def checked_inputs(raw: NDArray[np.generic], label: str) -> NDArray[np.generic]:
    """The examples `(n, *shape)`: integers of their stored width (bool as uint8), or float32.

    Raises DataError that begins with `label` for any other dtype, for NaN or infinity, and for
    arrays without examples or features.
    """
    _refuse_dtype(raw, label, "save numbers, such as columns of 0 and 1 for words")
    _refuse_empty(raw, label)
    if raw.ndim < 2:
        raise DataError(
            f"{label}: shape {raw.shape} has no feature axis; save it as {(len(raw), 1)}"
        )
    if raw.dtype.kind == "f":
        return _float32(raw, label)
    kept = np.dtype(np.uint8) if raw.dtype.kind == "b" else storage_dtype(raw.dtype)
    return raw.astype(kept, copy=False)


def checked_targets(raw: NDArray[np.generic], label: str) -> NDArray[np.generic]:
    """The targets: int64 class labels `(n,)`, or float32 values `(n, k)`.

    Integers `(n, 1)` are class labels. Floats `(n,)` are regression targets `(n, 1)`. Booleans
    `(n, k)` are k targets of 0 or 1 per example. Raises DataError that begins with `label` for
    anything else.
    """
    _refuse_dtype(raw, label, f"number the classes: {UNIQUE}")
    _refuse_empty(raw, label)
    if raw.ndim > 2:
        raise DataError(f"{label}: shape {raw.shape} has too many axes; reshape it to (n, k)")
    if raw.dtype.kind == "f" or (raw.dtype.kind == "b" and raw.ndim == 2 and raw.shape[1] > 1):
        return _float32(raw.reshape(len(raw), -1), label)
    return _labels(raw, label)


def storage_dtype(dtype: np.dtype[np.generic]) -> np.dtype[np.generic]:
    """The dtype in which training stores inputs of `dtype`: native byte order, no float64.

    A bool stays bool, so that it is not confused with uint8 pixels.
    """
    return np.dtype(np.float32) if dtype.kind == "f" else dtype.newbyteorder("=")


def _labels(raw: NDArray[np.generic], label: str) -> NDArray[np.generic]:
    if raw.ndim == 2 and raw.shape[1] != 1:
        if _is_one_hot(raw):
            raise DataError(f"{label}: its rows are one-hot; save class labels: argmax(axis=1)")
        raise DataError(
            f"{label}: integers of shape {raw.shape} are not class labels; save labels as "
            f"({len(raw)},), or several targets per example as float32"
        )
    flat = raw.reshape(-1)
    low, high = int(flat.min()), int(flat.max())
    if low < 0 or high > _LAST_LABEL:
        odd = low if low < 0 else high
        raise DataError(f"{label}: holds the label {odd}; number the classes from 0: {UNIQUE}")
    return flat.astype(np.int64, copy=False)


def _is_one_hot(raw: NDArray[np.generic]) -> bool:
    return bool((np.count_nonzero(raw, axis=1) == 1).all() and (np.max(raw, axis=1) == 1).all())


def _refuse_dtype(raw: NDArray[np.generic], label: str, remedy: str) -> None:
    if raw.dtype.kind in "US":
        raise DataError(f"{label}: dtype {raw.dtype}: text cannot be trained on; {remedy}")
    if raw.dtype.kind not in "biuf":
        raise DataError(
            f"{label}: dtype {raw.dtype} cannot be trained on; save integers, floats or booleans"
        )


def _refuse_empty(raw: NDArray[np.generic], label: str) -> None:
    if raw.ndim == 0 or raw.size == 0:
        raise DataError(f"{label}: shape {raw.shape} holds no examples; save at least one")


def _float32(raw: NDArray[np.generic], label: str) -> NDArray[np.float32]:
    # Ignored, because an overflow becomes the infinity that is refused below.
    with np.errstate(over="ignore", invalid="ignore"):
        array = raw.astype(np.float32, copy=False)
        extremes = array.min(), array.max()  # NaN survives into both of them
    if np.isfinite(extremes).all():
        return array
    bad = ~np.isfinite(array.reshape(len(array), -1)).all(axis=1)
    raise DataError(
        f"{label}: example {int(bad.argmax())} (and {int(bad.sum()) - 1} more) holds NaN, infinity "
        f"or a number beyond float32; correct or drop it"
    )
