"""The test error of weights that a run left: the layers composed in one process."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from protocol import DataError, Pipeline, RunError
from protocol.spec import layer_name
from workers.build import build_stack
from workers.data import Dataset
from workers.data.listing import listed
from workers.fit import fitted, reads_images
from workers.nn import LOSSES, Judgement, Shape, Stack

Array = npt.NDArray[np.generic]
_UNUSED: Final = ("optimizer.", "synthetic.", "inputs.")
"""How the names of arrays begin that only training needs."""


class Saved(NamedTuple):
    """The file of a layer's weights: its path, its arrays by name, and its metadata."""

    path: str
    arrays: Mapping[str, Array]
    metadata: Mapping[str, str] = {}


def evaluate(
    pipeline: Pipeline,
    data: Dataset,
    saved: Sequence[Saved],
    tell: Callable[[str], None] = lambda _: None,
) -> Judgement:
    """Summed loss and errors over the test set, in the batches that training used.

    `saved` is what the run left of each layer; `tell` gets what is odd about the data. Raises
    DataError where the test set does not fit the run, RunError where the weights do not fit the
    pipeline.
    """
    scale = _scale(pipeline, data, saved[0], tell)
    stacks = trained_stacks(pipeline, data.shape, scale, saved)
    _check_answers(pipeline, data, stacks[-1].output)
    judge = LOSSES[pipeline.train.loss]
    size = pipeline.data.batch
    loss, errors, judged, absolute = 0.0, 0, 0, 0.0
    for start in range(0, len(data.x_test), size):
        y: Array = data.x_test[start : start + size]
        for stack in stacks:
            y, _ = stack.forward(y, train=False)
        judgement = judge(np.asarray(y, np.float32), data.y_test[start : start + size])
        loss += judgement.loss
        errors += judgement.errors
        judged += judgement.judged
        absolute += judgement.absolute
    return Judgement(loss, np.empty(0, np.float32), errors, judged, absolute)


def _scale(pipeline: Pipeline, data: Dataset, first: Saved, tell: Callable[[str], None]) -> float:
    """What integers are multiplied by: as in training, where they are of the same dtype.

    Raises DataError for examples of another shape. A run that has no such metadata is taken to
    have been trained on data like these.
    """
    if "shape" not in first.metadata:
        return data.scale
    shape, dtype, scale = _trained_on(first)
    if shape != data.shape and (
        reads_images(pipeline) or math.prod(shape) != math.prod(data.shape)
    ):
        raise DataError(
            f"data: an example of the test set has shape {data.shape}, but the run was trained on "
            f"{shape}; give examples of that shape"
        )
    found = data.x_test.dtype
    if dtype == found:
        return scale
    tell(
        f"x_test is {found}, but the run was trained on {dtype}: integers are multiplied by "
        f"{data.scale:.3g}, floats are taken as they are"
    )
    return data.scale


def _trained_on(saved: Saved) -> tuple[Shape, np.dtype[np.generic], float]:
    """Shape and dtype of the examples that a run was trained on, and the scale of integers."""
    found = saved.metadata
    try:
        shape = tuple(int(side) for side in found["shape"].split("x"))
        return shape, np.dtype(found["dtype"]), float(found["scale"])
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{saved.path}: its metadata cannot be read: {error!r:.80}") from None


def trained_stacks(
    pipeline: Pipeline, shape: Shape, scale: float, saved: Sequence[Saved]
) -> list[Stack]:
    """The layers with what was `saved` in place of their first weights, for examples of `shape`
    whose integers are multiplied by `scale`.

    Raises RunError where the weights do not fit the pipeline.
    """
    stacks = []
    for i, (made, found) in enumerate(zip(fitted(pipeline, shape), saved, strict=True)):
        name = found.metadata.get("layer", layer_name(i))
        if name != layer_name(i):
            raise RunError(
                f"{found.path}: holds the weights of {name!r:.60}, not of {layer_name(i)}"
            )
        stack = build_stack(pipeline, scale, made, i)
        _fill(stack, found)
        stacks.append(stack)
    return stacks


def _fill(stack: Stack, saved: Saved) -> None:
    """Put the saved arrays into `stack`; all that is wrong with one is refused by its name."""
    wanted = stack.named()
    used = (name for name in saved.arrays if not name.startswith(_UNUSED))
    if strange := [name for name in used if name not in wanted]:
        raise RunError(
            f"{saved.path}: holds {listed(strange)}, which the pipeline has not; "
            f"it has {listed(wanted)}"
        )
    for name, view in wanted.items():
        found = saved.arrays.get(name)
        needs = f"the pipeline needs {view.dtype} {view.shape}"
        if found is None:
            raise RunError(f"{saved.path}: {name} is missing; {needs}")
        if (found.dtype, found.shape) != (view.dtype, view.shape):
            raise RunError(f"{saved.path}: {name} is {found.dtype} {found.shape}; {needs}")
        view[...] = found
        if not np.isfinite(view).all():
            raise RunError(f"{saved.path}: {name} holds NaN or infinity, of a run that went wrong")


def _check_answers(pipeline: Pipeline, data: Dataset, shape: Shape) -> None:
    """Raise DataError where the targets of the test set are not such as the run answers."""
    width = math.prod(shape)
    if data.labelled and data.classes > width:
        raise DataError(
            f"data: y_test has labels up to {data.classes - 1}, but the run knows {width} "
            f"classes, 0 to {width - 1}"
        )
    if not data.labelled and pipeline.train.loss == "cross-entropy":
        raise DataError(
            "data: y_test holds floats, but cross-entropy judges class labels; save them as "
            "integers: y.astype('int64'), or y.argmax(axis=1) of one-hot rows"
        )
    if not data.labelled and data.classes != width:
        raise DataError(f"data: y_test has {data.classes} target values, but the run gives {width}")
