"""The output layer, which every rule has: it computes the loss and so has the true gradient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from protocol import COORDINATOR, Activation, Evaluated, Marker, Pipeline, Send
from workers.nn import Loss, Stack
from workers.nn.optim import Optimizer
from workers.stages.layer import LayerStage, Rng


class OutputLayer(LayerStage):
    """The layer under the loss. It learns from the true gradient at once, under every rule."""

    def __init__(
        self,
        index: int,
        pipeline: Pipeline,
        stack: Stack,
        optimizer: Optimizer,
        rng: Rng,
        loss: Loss,
    ) -> None:
        super().__init__(index, pipeline, stack, optimizer, rng)
        self._loss = loss
        self._passes_credit = False
        self._below_learns = pipeline.rule != "no-bprop"
        self._is_backprop = pipeline.rule == "backprop"
        self._evaluation = self._empty_evaluation

    @property
    def _empty_evaluation(self) -> Evaluated:
        return Evaluated(self.name, 0, 0.0, 0, 0)

    @property
    def needs_input_gradient(self) -> bool:
        """Whether the layer below learns."""
        return self._below_learns and super().needs_input_gradient

    @property
    def _window_open(self) -> bool:
        return True

    def _train(self, message: Activation) -> Iterator[Send]:
        y, caches = self.stack.forward(message.x, train=True)
        result = self._loss(y, message.labels)
        self.stats.record_loss(self._finite.number(result.loss, "the loss"), len(y))
        chosen = self.chooses_batch()
        if chosen or self._is_backprop:
            dx = self._learn(message.step, caches, result.gradient, chosen)
            yield from self._send_down(message.batch, dx)
        else:
            self._finish(message.batch)

    def _evaluate(self, message: Activation) -> Iterator[Send]:
        y, _ = self.stack.forward(message.x, train=False)
        loss, _, errors, judged, _ = self._loss(y, message.labels)
        self._finite.number(loss, "the test loss")
        total = self._evaluation
        self._evaluation = replace(
            total,
            loss=total.loss + loss,
            errors=total.errors + errors,
            judged=total.judged + judged,
        )
        return iter(())

    def _pass_on(self, marker: Marker) -> Iterator[Send]:
        if marker.name == "evaluated":
            yield Send(COORDINATOR, replace(self._evaluation, step=marker.step))
            self._evaluation = self._empty_evaluation
        elif marker.name == "drain":
            yield Send(self.below, Marker("drained", marker.step))
