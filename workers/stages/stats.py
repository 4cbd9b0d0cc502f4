"""The counters and averages of a stage."""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from protocol import Report
from workers.nn import Floats

LOSS_STEPS: Final = 100
"""The reported loss is the mean over this many training steps."""
COMPARED: Final = 8
"""One of this many pairs of synthetic and true gradients is compared; the mean needs no more."""


@dataclass(slots=True)
class Stats:
    """Counters since the start, and averages since the last report."""

    updates: int = 0
    activations: int = 0
    samples: int = 0
    gradients: int = 0
    dropped_gradients: int = 0
    inputs: int = 0
    dropped_inputs: int = 0
    unsent: int = 0
    staleness: Counter[int] = field(default_factory=Counter)
    _losses: deque[float] = field(default_factory=lambda: deque(maxlen=LOSS_STEPS))
    _cosine: float = 0.0
    _pairs: int = 0
    _compared: int = 0
    _prediction_square: float = 0.0
    _true_square: float = 0.0

    def record_loss(self, loss: float, examples: int) -> None:
        """Add a batch's summed loss."""
        self._losses.append(loss / examples)

    def compare(self, prediction: Floats, true_gradient: Floats) -> None:
        """Count one pair of synthetic and true gradient, and compare one of `COMPARED` pairs."""
        self._pairs += 1
        if self._pairs % COMPARED != 1:
            return
        prediction_square = float(np.vdot(prediction, prediction))
        true_square = float(np.vdot(true_gradient, true_gradient))
        self._prediction_square += prediction_square
        self._true_square += true_square
        if prediction_square > 0 and true_square > 0:
            product = float(np.vdot(prediction, true_gradient))
            self._cosine += product / math.sqrt(prediction_square) / math.sqrt(true_square)
            self._compared += 1

    def report(self, name: str, step: int, queue: int, window: int) -> Report:
        """The counters, and the averages since the last report, which start again."""
        cosine = self._cosine / self._compared if self._compared else None
        ratio = (
            math.sqrt(self._prediction_square / self._true_square) if self._true_square else None
        )
        loss = sum(self._losses) / len(self._losses) if self._losses else None
        self._cosine = self._prediction_square = self._true_square = 0.0
        self._compared = 0
        return Report(
            name,
            step,
            updates=self.updates,
            activations=self.activations,
            samples=self.samples,
            gradients=self.gradients,
            dropped_gradients=self.dropped_gradients,
            inputs=self.inputs,
            dropped_inputs=self.dropped_inputs,
            unsent=self.unsent,
            queue=queue,
            staleness_p50=self._median(),
            staleness_max=max(self.staleness, default=0),
            synthetic_cosine=cosine,
            norm_ratio=ratio,
            loss=loss,
            window=window,
        )

    def _median(self) -> int:
        half, seen = sum(self.staleness.values()) / 2, 0
        for value in sorted(self.staleness):
            seen += self.staleness[value]
            if seen >= half:
                return value
        return 0
