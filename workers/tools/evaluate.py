"""Evaluates the saved weights of a run on the test set, with all layers in one process."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, cast

import numpy as np
import numpy.typing as npt

from protocol import DataError, Pipeline, RunError, SpecError
from protocol.codec.arrays import DTYPES
from protocol.dataset_info import CLASS_NAMES, parse_class_names
from protocol.pipeline import layer_name
from protocol.saved_weights import SavedWeights
from protocol.validation import require_at_least, require_one_of, require_positive
from workers.assembly.build import build_stack
from workers.assembly.compatibility import fitted, reads_images
from workers.data import Dataset
from workers.data.listing import listed
from workers.nn import LOSSES, LossResult, Shape, Stack

Array = npt.NDArray[np.generic]
_UNUSED: Final = ("optimizer.", "synthetic.", "inputs.")
"""Prefixes of the names of arrays that only training needs."""
_VARIANCE: Final = "running_var"


def evaluate_weights(
    pipeline: Pipeline,
    data: Dataset,
    saved: Sequence[SavedWeights],
    report: Callable[[str], None] = lambda _: None,
) -> LossResult:
    """The summed loss and errors over the test set, in batches of the size of training.

    The loss may be NaN or infinite. `saved` holds the weights of each layer. `report` receives
    notes on the data. Raises DataError if the test set does not fit the run, and RunError if the
    weights do not fit the pipeline.
    """
    scale = _scale(pipeline, data, saved[0], report)
    stacks = trained_stacks(pipeline, data.shape, scale, saved)
    targets = _targets(pipeline, data, saved[0], report)
    _check_targets(pipeline, data, targets, stacks[-1].output)
    with np.errstate(all="ignore"):  # a loss that is not finite is reported below
        found = _total_loss(pipeline, data.x_test, targets, stacks)
    if not math.isfinite(found.loss):
        report(
            f"the loss is {found.loss}, because outputs of the network are too large or NaN; "
            "check the scale of x_test, and the weights"
        )
    return found


def _total_loss(
    pipeline: Pipeline, x: Array, targets: Array, stacks: Sequence[Stack]
) -> LossResult:
    loss_of = LOSSES[pipeline.train.loss]
    size = pipeline.data.batch
    loss, errors, judged, absolute = 0.0, 0, 0, 0.0
    for start in range(0, len(x), size):
        y: Array = x[start : start + size]
        for stack in stacks:
            y, _ = stack.forward(y, train=False)
        result = loss_of(np.asarray(y, np.float32), targets[start : start + size])
        loss += result.loss
        errors += result.errors
        judged += result.judged
        absolute += result.absolute
    return LossResult(loss, np.empty(0, np.float32), errors, judged, absolute)


def _source(pipeline: Pipeline) -> str:
    """The name of the data set in errors."""
    return str(pipeline.data.path or f"data {pipeline.data.name}")


def _scale(
    pipeline: Pipeline, data: Dataset, first: SavedWeights, report: Callable[[str], None]
) -> float:
    """The factor for integer inputs: that of training, if the dtype is the same.

    Raises DataError for examples of another shape. If the run has no such metadata, the data are
    assumed to be like those of training.
    """
    found = data.x_test.dtype
    if "shape" not in first.metadata:
        if found.kind != "f" and found != np.uint8:
            report(
                f"the run has no record of the scale of its integers; those of x_test are "
                f"multiplied by {data.scale:.3g}"
            )
        return data.scale
    shape, dtype, scale = _trained_on(first)
    if shape != data.shape and (
        reads_images(pipeline) or math.prod(shape) != math.prod(data.shape)
    ):
        raise DataError(
            f"{_source(pipeline)}: an example of the test set has shape {data.shape}, but the run "
            f"was trained on {shape}; give examples of that shape"
        )
    if dtype == found:
        return scale
    report(
        f"x_test is {found}, but the run was trained on {dtype}: integers are multiplied by "
        f"{data.scale:.3g}, floats are taken as they are"
    )
    return data.scale


def _trained_on(saved: SavedWeights) -> tuple[Shape, np.dtype[np.generic], float]:
    """The shape and dtype of the examples of training, and the scale of integers."""
    with _metadata(saved) as found:
        shape, scale = tuple(int(side) for side in found["shape"].split("x")), float(found["scale"])
        require_at_least("shape", min(shape), 1)
        require_one_of("dtype", found["dtype"], tuple(DTYPES))
        require_positive("scale", scale)
        return shape, DTYPES[found["dtype"]], scale


@contextmanager
def _metadata(saved: SavedWeights) -> Iterator[Mapping[str, str]]:
    """The metadata of a file, whose errors become RunErrors."""
    try:
        yield saved.metadata
    except (KeyError, TypeError, ValueError, SpecError) as error:
        raise RunError(f"{saved.path}: its metadata cannot be read: {error!r:.80}") from None


def _targets(
    pipeline: Pipeline, data: Dataset, first: SavedWeights, report: Callable[[str], None]
) -> Array:
    """The targets of the test set. Classes with names are numbered as in the run.

    Raises DataError for a class that the run does not know.
    """
    if not data.class_names:
        return data.y_test
    with _metadata(first) as found:
        known = {name: i for i, name in enumerate(parse_class_names(found.get(CLASS_NAMES, "[]")))}
    if not known:
        numbered = listed(f"{i} is {name!r}" for i, name in enumerate(data.class_names))
        report(
            "the run has no class names, so the classes are numbered by the folders "
            f"of the test set: {numbered}"
        )
        return data.y_test
    tested = [data.class_names[label] for label in np.unique(data.y_test)]
    if unknown := [name for name in tested if name not in known]:
        raise DataError(
            f"{_source(pipeline)}: the test set has the class {listed(map(repr, unknown))}, which "
            f"the run was not trained on; it knows {listed(map(repr, known))}"
        )
    numbers = np.array([known.get(name, -1) for name in data.class_names])
    return cast(Array, numbers[data.y_test])


def trained_stacks(
    pipeline: Pipeline, shape: Shape, scale: float, saved: Sequence[SavedWeights]
) -> list[Stack]:
    """The layers with the `saved` weights, for examples of `shape` whose integers are multiplied
    by `scale`.

    Raises RunError if the weights do not fit the pipeline.
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


def _fill(stack: Stack, saved: SavedWeights) -> None:
    """Copy the saved arrays into `stack`. Raises RunError that names the first wrong array."""
    wanted = stack.named()
    used = (name for name in saved.arrays if not name.startswith(_UNUSED))
    if unknown := [name for name in used if name not in wanted]:
        raise RunError(
            f"{saved.path}: holds {listed(unknown)}, which the pipeline does not have; "
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
            raise RunError(f"{saved.path}: {name} holds NaN or infinity; the run diverged")
        if name.endswith(_VARIANCE) and np.min(view) < 0:
            raise RunError(
                f"{saved.path}: {name} holds {np.min(view):g}, but a variance cannot be negative"
            )


def _check_targets(pipeline: Pipeline, data: Dataset, targets: Array, shape: Shape) -> None:
    """Raise DataError if the targets of the test set do not fit the outputs of the run."""
    width, source = math.prod(shape), _source(pipeline)
    if data.labelled and (last := int(np.max(targets))) >= width:
        raise DataError(
            f"{source}: y_test has labels up to {last}, but the run knows {width} "
            f"{'class' if width == 1 else 'classes'}, 0 to {width - 1}"
        )
    if not data.labelled and pipeline.train.loss == "cross-entropy":
        raise DataError(
            f"{source}: y_test holds floats, but cross-entropy judges class labels; save them as "
            "integers: y.astype('int64'), or y.argmax(axis=1) of one-hot rows"
        )
    if not data.labelled and data.classes != width:
        raise DataError(
            f"{source}: an example of y_test has {data.classes} target "
            f"{'value' if data.classes == 1 else 'values'}, but the run gives {width}"
        )
