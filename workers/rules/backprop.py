"""The rules without a model of the gradient: back-propagation, and none at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from protocol import Activation, Send
from workers.nn import Floats
from workers.stages.layer import LayerStage
from workers.stages.pending import SentBatch


class NoBackpropLayer(LayerStage):
    """no-bprop: hidden layers keep their initial weights; only the output layer learns."""


class BackpropLayer(LayerStage):
    """backprop: a layer learns from the true gradient when it comes, and from nothing else."""

    def _train(self, message: Activation) -> Iterator[Send]:
        y, caches = self._forward(message)
        self._remember(message, caches)
        yield from self._send_up(message, y)

    def on_true_gradient(
        self, batch: int, sent: SentBatch, true_gradient: Floats
    ) -> Iterator[Send]:
        caches = cast(list[object], sent.memory)
        dx = self._learn(sent.step, caches, true_gradient, self.chooses_batch())
        yield from self._send_down(batch, dx)
