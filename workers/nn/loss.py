"""Losses: summed over the batch, with the gradient of that sum for every example.

The sum and not the mean: gradients pass between layers and are what the gradient models learn, and
the gradients of a mean are so small that their squares vanish beside Adam's epsilon. Each layer
divides by the batch size when it updates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from workers.nn.module import Floats

Labels: TypeAlias = npt.NDArray[np.generic]


class LossResult(NamedTuple):
    """The summed loss, its gradient (n, k), and the number of errors among `judged` answers.

    With class labels an answer is an example; it is an error if the largest output is not the
    label. With target values an answer is one output; it is an error if it differs by more than a
    half, and `absolute` is the sum of the absolute differences.
    """

    loss: float
    gradient: Floats
    errors: int
    judged: int
    absolute: float = 0.0


Loss: TypeAlias = Callable[[Floats, Labels], LossResult]


def target_values(labels: Labels, k: int, dtype: npt.DTypeLike) -> Floats:
    """Class numbers (n,) as one-hot rows (n, k); target values (n, k) unchanged."""
    if labels.ndim == 2:
        return cast(Floats, labels.astype(dtype, copy=False))
    rows = np.zeros((len(labels), k), dtype)
    rows[np.arange(len(labels)), labels.astype(np.intp)] = 1
    return cast(Floats, rows)


def _errors(scores: Floats, answers: Floats, labels: Labels) -> tuple[int, int, float]:
    if labels.ndim == 1:
        return int(np.count_nonzero(scores.argmax(axis=1) != labels)), len(labels), 0.0
    off = np.abs(answers - cast(Floats, labels))
    return int(np.count_nonzero(off > 0.5)), labels.size, float(off.sum())


def cross_entropy(logits: Floats, labels: Labels) -> LossResult:
    """Softmax cross-entropy of logits (n, k) against class numbers (n,)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    gradient = np.exp(shifted)
    total = gradient.sum(axis=1, keepdims=True)
    gradient /= total
    rows, wanted = np.arange(len(labels)), labels.astype(np.intp)
    loss = float(np.log(total).sum() - shifted[rows, wanted].sum())
    gradient[rows, wanted] -= 1
    return LossResult(loss, gradient, *_errors(logits, logits, labels))


def squared_error(outputs: Floats, labels: Labels) -> LossResult:
    """Half the squared distance of outputs (n, k) to target values or one-hot class labels."""
    wanted = target_values(labels, outputs.shape[1], outputs.dtype)
    gradient = outputs - wanted
    loss = 0.5 * float(np.vdot(gradient, gradient))
    return LossResult(loss, gradient, *_errors(outputs, outputs, labels))


def binary_cross_entropy(logits: Floats, labels: Labels) -> LossResult:
    """Cross-entropy of k independent sigmoids of logits (n, k) against targets in [0, 1]."""
    wanted = target_values(labels, logits.shape[1], logits.dtype)
    probability = 0.5 * np.tanh(0.5 * logits) + 0.5
    loss = float((np.logaddexp(0, logits) - wanted * logits).sum())
    return LossResult(loss, probability - wanted, *_errors(logits, probability, labels))


LOSSES: Final[dict[str, Loss]] = {
    "cross-entropy": cross_entropy,
    "squared-error": squared_error,
    "binary-cross-entropy": binary_cross_entropy,
}
