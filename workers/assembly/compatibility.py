"""Checks that a pipeline and its data fit together, before anything starts.

The checks use the shapes of modules alone and allocate no array.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from protocol import Pipeline, SpecError
from protocol.dataset_info import DatasetInfo
from workers.data import Augment, Dataset, channels_first, renumbering
from workers.data.listing import listed
from workers.nn import BatchNorm, Module, Shape, modules
from workers.rules.synthetic import input_modules, model_modules

MAX_BYTES: Final = 1 << 31
"""The largest array that a message may hold."""
_OF_IMAGES: Final = {"conv", "maxpool", "avgpool", "batchnorm"}
_OF_ROWS: Final = {"linear", "flatten"}
_CAST: Final = (
    "if y holds class numbers, save them as integers, y.astype('int64'), and use 'cross-entropy'"
)


def fitted(pipeline: Pipeline, shape: Shape) -> list[list[Module]]:
    """The modules of every layer, each fitted to the one below, for examples of `shape`.

    Raises SpecError if a module cannot take the output of the module below it.
    """
    made: list[list[Module]] = []
    inputs = shape
    for i, layer in enumerate(pipeline.layer):
        try:
            made.append(modules(layer.modules, inputs, f"layer[{i}]"))
        except SpecError as error:
            raise SpecError(f"{error}{_channels_hint(pipeline, shape)}") from None
        inputs = made[-1][-1].output
    return made


def _channels_hint(pipeline: Pipeline, shape: Shape) -> str:
    hint = channels_first(shape) if reads_images(pipeline) else None
    return f"; {hint}" if hint else ""


def reads_images(pipeline: Pipeline) -> bool:
    """Whether a module sees the axes of an example before they are flattened."""
    for layer in pipeline.layer:
        for text in layer.modules:
            kind, *_ = text.split() or [""]
            if kind in _OF_IMAGES:
                return True
            if kind in _OF_ROWS:
                return False
    return False


def layer_modules(pipeline: Pipeline, info: DatasetInfo) -> list[list[Module]]:
    """The modules of every layer, for training.

    Raises SpecError if the pipeline and the data do not fit together.
    """
    made = fitted(pipeline, info.shape)
    batch = pipeline.data.batch
    for i, layer in enumerate(made):
        if batch * math.prod(layer[-1].output) * 4 > MAX_BYTES:
            raise SpecError(f"layer[{i}]: a batch of its activations is larger than 2 GiB")
    _check_loss(pipeline, info)
    _check_outputs(pipeline, info, made[-1][-1].output)
    Augment(pipeline.data.augment, info.shape)  # raises if the images do not fit
    if batch > info.examples:
        raise SpecError(f"data.batch: {batch} is more than the {info.examples} training examples")
    _check_batchnorm(pipeline, info, made)
    return made


def _check_loss(pipeline: Pipeline, info: DatasetInfo) -> None:
    if info.labelled or pipeline.train.loss != "cross-entropy":
        return
    remedy = (
        "if they are class numbers, save them as integers: y.astype('int64')"
        if info.classes == 1
        else "if its rows are one-hot, save class numbers: y.argmax(axis=1)"
    )
    raise SpecError(
        "train.loss: cross-entropy needs class labels, integers, but y holds floats or rows of "
        f"booleans, which are target values; {remedy}; for target values use 'squared-error' or "
        "'binary-cross-entropy'"
    )


def _check_outputs(pipeline: Pipeline, info: DatasetInfo, shape: Shape) -> None:
    key = f"layer[{len(pipeline.layer) - 1}].modules"
    width, needed = math.prod(shape), info.classes
    if len(shape) != 1:
        raise SpecError(f"{key}: the last layer gives {shape}, not a row of numbers; add 'flatten'")
    outputs = f"{width} output" if width == 1 else f"{width} outputs"
    if info.labelled and width < needed:
        raise SpecError(f"{key}: the last layer has {outputs}, but {_labels(info, width)}")
    if not info.labelled and width != needed:
        values = "1 target value" if needed == 1 else f"{needed} target values"
        cast = f"; {_CAST}" if info.distinct else ""
        raise SpecError(
            f"{key}: the last layer has {outputs} for {values}; end it with 'linear {needed}'{cast}"
        )


def _labels(info: DatasetInfo, width: int) -> str:
    """The end of an error: what the labels are, and what to do about too few outputs."""
    last = info.classes - 1
    if not info.labels or info.distinct == info.classes:
        return f"labels go up to {last}; end it with 'linear {info.classes}'"
    low = info.labels[0]
    remedy = renumbering(list(info.labels), info.distinct, last)
    if info.distinct == last - low + 1:
        what = f"labels start at {low} and go up to {last}"
    else:
        first = ", ".join(map(str, info.labels))
        more = f", … {last}" if info.distinct > len(info.labels) else ""
        what = f"labels are not consecutive ({first}{more})"
    end = "" if width == info.distinct else f", and end it with 'linear {info.distinct}'"
    return f"{what}; number the {info.distinct} classes from 0: {remedy}{end}"


def _check_batchnorm(
    pipeline: Pipeline, info: DatasetInfo, made: Sequence[Sequence[Module]]
) -> None:
    """Refuse batch normalisation over a single value, whose output is constant."""
    for key, row in _rows(pipeline, info, made):
        for j, module in enumerate(row):
            single = pipeline.data.batch * math.prod(module.output[:-1]) == 1
            if isinstance(module, BatchNorm) and single:
                where, remedy = key
                raise SpecError(
                    f"{where.format(j)}: batch normalisation over one value per channel "
                    f"(data.batch = 1) gives a constant; set data.batch to 2 or more, or {remedy}"
                )


def _rows(
    pipeline: Pipeline, info: DatasetInfo, made: Sequence[Sequence[Module]]
) -> Iterator[tuple[tuple[str, str], Sequence[Module]]]:
    """The modules of every layer and model that trains, each with its key and a remedy."""
    last = len(made) - 1
    for i, layer in enumerate(made):
        yield (f"layer[{i}].modules[{{}}]", "remove 'batchnorm'"), layer
        if i < last and pipeline.decoupled:
            model = gradient_model_modules(pipeline, info, layer[-1].output)
            yield (
                (f"synthetic.hidden: gradient model of layer{i}", "set synthetic.hidden = []"),
                model,
            )
        if i and pipeline.unlocked:
            model = input_model_modules(pipeline, info, made[i - 1][-1].output)
            key = f"synthetic.input_hidden: input model of layer{i}"
            yield (key, "set synthetic.input_hidden = []"), model


def condition(pipeline: Pipeline, info: DatasetInfo) -> int:
    """The width of the condition of gradient models; 0 if they do not see the labels."""
    return info.classes if pipeline.conditioned else 0


def gradient_model_modules(pipeline: Pipeline, info: DatasetInfo, shape: Shape) -> list[Module]:
    """The modules of the gradient model of a layer whose activations have `shape`."""
    model = pipeline.synthetic
    return model_modules(shape, condition(pipeline, info), model.hidden, model.kernel)


def input_model_modules(pipeline: Pipeline, info: DatasetInfo, shape: Shape) -> list[Module]:
    """The modules of the synthetic-input model of a layer whose input has `shape`."""
    return input_modules(info.shape, shape, pipeline.synthetic.input_hidden)


def data_notes(pipeline: Pipeline, data: Dataset) -> list[str]:
    """What a user should know before `pipeline` trains on `data`, one line each."""
    found = [*data.notes]
    if reads_images(pipeline) or pipeline.data.augment:
        found += filter(None, [channels_first(data.shape)])
    values, loss = data.maybe_labels, pipeline.train.loss
    if len(values) and not (loss == "binary-cross-entropy" and values[-1] <= 1):
        found.append(f"y_train holds {listed(f'{v:g}' for v in values)} as target values; {_CAST}")
    if loss == "binary-cross-entropy" and not data.labelled:
        low, high = float(np.min(data.y_train)), float(np.max(data.y_train))
        if low < 0 or high > 1:
            found.append(
                f"y_train holds {low:g} to {high:g}, but binary-cross-entropy is for targets in 0 "
                "to 1; scale them, or use 'squared-error'"
            )
    return found
