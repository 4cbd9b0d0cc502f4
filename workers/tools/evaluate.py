"""The test error of weights that a run left: the layers composed in one process."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, cast

import numpy as np
import numpy.typing as npt

from protocol import DataError, Pipeline, RunError, SpecError
from protocol.codec.schema import DTYPES
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
"""How the names of arrays begin that only training needs."""
_VARIANCE: Final = "running_var"


def evaluate_weights(
    pipeline: Pipeline,
    data: Dataset,
    saved: Sequence[SavedWeights],
    tell: Callable[[str], None] = lambda _: None,
) -> LossResult:
    """Summed loss and errors over the test set, in the batches that training used.

    The loss may be NaN or infinite. `saved` is what the run left of each layer; `tell` gets what is
    odd about the data. Raises DataError where the test set does not fit the run, RunError where the
    weights do not fit the pipeline.
    """
    scale = _scale(pipeline, data, saved[0], tell)
    stacks = trained_stacks(pipeline, data.shape, scale, saved)
    answers = _answers(pipeline, data, saved[0], tell)
    _check_answers(pipeline, data, answers, stacks[-1].output)
    with np.errstate(all="ignore"):  # what is not finite is told below
        found = _judged(pipeline, data.x_test, answers, stacks)
    if not math.isfinite(found.loss):
        tell(
            f"the loss is {found.loss}, as the network's outputs are too large or not finite; look "
            "at the scale of x_test, and at the weights"
        )
    return found


def _judged(pipeline: Pipeline, x: Array, answers: Array, stacks: Sequence[Stack]) -> LossResult:
    judge = LOSSES[pipeline.train.loss]
    size = pipeline.data.batch
    loss, errors, judged, absolute = 0.0, 0, 0, 0.0
    for start in range(0, len(x), size):
        y: Array = x[start : start + size]
        for stack in stacks:
            y, _ = stack.forward(y, train=False)
        judgement = judge(np.asarray(y, np.float32), answers[start : start + size])
        loss += judgement.loss
        errors += judgement.errors
        judged += judgement.judged
        absolute += judgement.absolute
    return LossResult(loss, np.empty(0, np.float32), errors, judged, absolute)


def _source(pipeline: Pipeline) -> str:
    """How errors name the data."""
    return str(pipeline.data.path or f"data {pipeline.data.name}")


def _scale(
    pipeline: Pipeline, data: Dataset, first: SavedWeights, tell: Callable[[str], None]
) -> float:
    """What integers are multiplied by: as in training, where they are of the same dtype.

    Raises DataError for examples of another shape. A run that has no such metadata is taken to
    have been trained on data like these.
    """
    found = data.x_test.dtype
    if "shape" not in first.metadata:
        if found.kind != "f" and found != np.uint8:
            tell(
                f"the run does not say how its integers were scaled; those of x_test are "
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
    tell(
        f"x_test is {found}, but the run was trained on {dtype}: integers are multiplied by "
        f"{data.scale:.3g}, floats are taken as they are"
    )
    return data.scale


def _trained_on(saved: SavedWeights) -> tuple[Shape, np.dtype[np.generic], float]:
    """Shape and dtype of the examples that a run was trained on, and the scale of integers."""
    with _metadata(saved) as found:
        shape, scale = tuple(int(side) for side in found["shape"].split("x")), float(found["scale"])
        require_at_least("shape", min(shape), 1)
        require_one_of("dtype", found["dtype"], tuple(DTYPES))
        require_positive("scale", scale)
        return shape, DTYPES[found["dtype"]], scale


@contextmanager
def _metadata(saved: SavedWeights) -> Iterator[Mapping[str, str]]:
    """The metadata of a file; what is wrong with them becomes a RunError."""
    try:
        yield saved.metadata
    except (KeyError, TypeError, ValueError, SpecError) as error:
        raise RunError(f"{saved.path}: its metadata cannot be read: {error!r:.80}") from None


def _answers(
    pipeline: Pipeline, data: Dataset, first: SavedWeights, tell: Callable[[str], None]
) -> Array:
    """The targets of the test set, with classes that have names numbered as the run did.

    Raises DataError for a class that the run does not know.
    """
    if not data.class_names:
        return data.y_test
    with _metadata(first) as found:
        known = {name: i for i, name in enumerate(parse_class_names(found.get(CLASS_NAMES, "[]")))}
    if not known:
        numbered = listed(f"{i} is {name!r}" for i, name in enumerate(data.class_names))
        tell(
            "the run does not say how its classes are called, so they are numbered by the folders "
            f"of the test set: {numbered}"
        )
        return data.y_test
    tested = [data.class_names[label] for label in np.unique(data.y_test)]
    if strange := [name for name in tested if name not in known]:
        raise DataError(
            f"{_source(pipeline)}: the test set has the class {listed(map(repr, strange))}, which "
            f"the run was not trained on; it knows {listed(map(repr, known))}"
        )
    numbers = np.array([known.get(name, -1) for name in data.class_names])
    return cast(Array, numbers[data.y_test])


def trained_stacks(
    pipeline: Pipeline, shape: Shape, scale: float, saved: Sequence[SavedWeights]
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


def _fill(stack: Stack, saved: SavedWeights) -> None:
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
        if name.endswith(_VARIANCE) and np.min(view) < 0:
            raise RunError(
                f"{saved.path}: {name} holds {np.min(view):g}, but no variance is negative"
            )


def _check_answers(pipeline: Pipeline, data: Dataset, answers: Array, shape: Shape) -> None:
    """Raise DataError where the targets of the test set are not such as the run answers."""
    width, source = math.prod(shape), _source(pipeline)
    if data.labelled and (last := int(np.max(answers))) >= width:
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
