"""What a layer counts while it trains."""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from protocol import Report
from workers.nn import Floats

LOSS_STEPS: Final = 100
"""Training steps that the reported loss is the mean of."""
COMPARED: Final = 8
"""Of so many pairs of synthetic and true gradient one is compared: the average needs no more."""


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
    _guess_square: float = 0.0
    _truth_square: float = 0.0

    def lost(self, loss: float, examples: int) -> None:
        """Add a batch's summed loss."""
        self._losses.append(loss / examples)

    def compare(self, guess: Floats, truth: Floats) -> None:
        """Add one pair of synthetic and true gradient; of `COMPARED` pairs one is looked at."""
        self._pairs += 1
        if self._pairs % COMPARED != 1:
            return
        guess_square, truth_square = float(np.vdot(guess, guess)), float(np.vdot(truth, truth))
        self._guess_square += guess_square
        self._truth_square += truth_square
        if guess_square > 0 and truth_square > 0:
            product = float(np.vdot(guess, truth))
            self._cosine += product / math.sqrt(guess_square) / math.sqrt(truth_square)
            self._compared += 1

    def report(self, name: str, step: int, queue: int, window: int) -> Report:
        """All of it; the averages begin anew."""
        cosine = self._cosine / self._compared if self._compared else None
        ratio = math.sqrt(self._guess_square / self._truth_square) if self._truth_square else None
        loss = sum(self._losses) / len(self._losses) if self._losses else None
        self._cosine = self._guess_square = self._truth_square = 0.0
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
