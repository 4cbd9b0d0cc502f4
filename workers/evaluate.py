"""The test error of weights that a run left: the layers composed in one process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from protocol import Pipeline, RunError
from protocol.facts import Facts
from workers.build import build_stack, facts_of, layer_modules
from workers.data import Dataset
from workers.nn import LOSSES, Judgement, Stack

Weights = Mapping[str, npt.NDArray[np.generic]]


def evaluate(pipeline: Pipeline, data: Dataset, weights: Sequence[Weights]) -> Judgement:
    """Summed loss and errors over the test set, in the batches that training used.

    `weights` holds each layer's arrays by name. Raises SpecError where pipeline and data do not
    fit, RunError where the weights do not fit the pipeline.
    """
    stacks = trained_stacks(pipeline, facts_of(data), weights)
    judge = LOSSES[pipeline.train.loss]
    size = pipeline.data.batch
    loss, errors, judged, absolute = 0.0, 0, 0, 0.0
    for start in range(0, len(data.x_test), size):
        y: npt.NDArray[np.generic] = data.x_test[start : start + size]
        for stack in stacks:
            y, _ = stack.forward(y, train=False)
        judgement = judge(np.asarray(y, np.float32), data.y_test[start : start + size])
        loss += judgement.loss
        errors += judgement.errors
        judged += judgement.judged
        absolute += judgement.absolute
    return Judgement(loss, np.empty(0, np.float32), errors, judged, absolute)


def trained_stacks(pipeline: Pipeline, facts: Facts, weights: Sequence[Weights]) -> list[Stack]:
    """The layers with `weights` in place of their first ones."""
    stacks = []
    for i, made in enumerate(layer_modules(pipeline, facts)):
        stack = build_stack(pipeline, facts, made, i)
        for name, view in stack.named().items():
            found = weights[i].get(name)
            if found is None or found.shape != view.shape:
                what = "is missing" if found is None else f"has shape {found.shape}"
                raise RunError(f"layer{i}: {name} {what}, the pipeline needs {view.shape}")
            view[...] = found
        stacks.append(stack)
    return stacks
