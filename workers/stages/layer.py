"""The stage of a layer: its function, how it learns and what it reports.

`workers.stages.ports` decides which message is handled next. The learning rules are subclasses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias

import numpy as np

from protocol import Activation, Gradient, Marker, Pipeline, Report, Send, State
from protocol.pipeline import SOURCE
from workers.nn import Floats, Stack
from workers.nn.optim import Optimizer, learning_rate
from workers.stages.finite_check import FiniteCheck
from workers.stages.pending import SentBatch
from workers.stages.ports import LayerPorts

Rng: TypeAlias = np.random.Generator

CHECK_EVERY: Final = 250
"""The number of updates between checks that all kept arrays are finite."""


class LayerStage(LayerPorts):
    """A layer that passes activations on and does not learn. Learning rules derive from it."""

    def __init__(
        self, index: int, pipeline: Pipeline, stack: Stack, optimizer: Optimizer, rng: Rng
    ) -> None:
        super().__init__(index, pipeline)
        self.stack = stack
        self.optimizer = optimizer
        self.dataset_metadata: dict[str, object] = {}  # saved beside the weights
        self.rng = rng
        self._finite = FiniteCheck(pipeline.train.on_nonfinite == "fail")
        self._drops = sorted(pipeline.train.lr_drops)

    # -- what rules override

    def _pass_on(self, marker: Marker) -> Iterator[Send]:
        yield Send(self.above, marker)

    def _train(self, message: Activation) -> Iterator[Send]:
        y, _ = self._forward(message)
        yield from self._send_up(message, y)
        self._finish(message.batch)

    def _complete(self) -> Iterator[Send]:
        return iter(())

    def _evaluate(self, message: Activation) -> Iterator[Send]:
        y, _ = self._forward(message)
        yield from self._send_up(message, y)

    def on_true_gradient(
        self,
        batch: int,  # noqa: ARG002
        sent: SentBatch,  # noqa: ARG002
        true_gradient: Floats,  # noqa: ARG002
    ) -> Iterator[Send]:
        return iter(())

    def _on_drain(self) -> None:
        self._finite.arrays(self.arrays())

    @property
    def needs_input_gradient(self) -> bool:
        """Whether the stage below learns from this layer's input gradient."""
        return self.below != SOURCE

    # -- what rules are made of

    def _forward(self, message: Activation) -> tuple[Floats, list[object]]:
        """The activation, and the caches for going back.

        The sender may overwrite the message's array after its credit, so the activation is copied
        if it shares that memory.
        """
        y, caches = self.stack.forward(message.x, message.train)
        return y.copy() if np.may_share_memory(y, message.x) else y, caches

    def _send_up(self, message: Activation, y: Floats) -> Iterator[Send]:
        """Send the activation `y` of the batch to the layer above."""
        self._finite.array(y, "the activation")
        self.window.send(message.batch)
        up = Activation(message.batch, message.step, message.train, y, message.labels)
        yield Send(self.above, up)

    def _remember(self, message: Activation, memory: object) -> None:
        """Keep what the true gradient of this batch will need."""
        self.unanswered.add(message.batch, message.step, memory)

    def _send_down(self, batch: int, gradient: Floats) -> Iterator[Send]:
        """Finish the batch, and send its input gradient with the credit if it is needed."""
        self._finish(batch)
        if self.needs_input_gradient:
            self._finite.array(gradient, "the gradient by its input")
            yield Send(self.below, Gradient(batch, self._owed.pay(), gradient))

    def _learn(self, step: int, caches: list[object], dy: Floats, update: bool = True) -> Floats:
        """Update the weights from the gradient `dy` by the output; returns that by the input.

        Both are taken at the weights with which the batch was computed.
        """
        dx = self.stack.backward(caches, dy, self.needs_input_gradient)
        if update:
            lr = self._lr(self._settings.lr, step)
            self.optimizer.step(self.stack.parameters, self.stack.gradients, lr, 1 / len(dy))
            self.stats.updates += 1
            if self.stats.updates % CHECK_EVERY == 0:
                self._finite.arrays(self.arrays())
        return dx

    def chooses_batch(self) -> bool:
        """Whether the layer updates on this batch (random updates, section 3.3 of the paper)."""
        probability = self._settings.update_probability
        return probability == 1 or self.rng.random() < probability

    def _lr(self, lr: float, step: int) -> float:
        return learning_rate(lr, self._drops, step)

    # -- reports

    @property
    def version(self) -> int:
        """The number of updates of the weights."""
        return self.stats.updates

    def report(self) -> Report:
        """See `protocol.stage.Stage`."""
        queue, window = len(self.inbox.from_below), self.window.window
        return self.stats.report(self.name, self.step, queue, window)

    def state(self) -> State:
        """Weights, running statistics and the optimiser's vectors, by name."""
        arrays = self.arrays()
        return State(self.name, self.step, self.metadata(), tuple(arrays), tuple(arrays.values()))

    def metadata(self) -> dict[str, object]:
        """What is saved beside the arrays."""
        return {"step": self.step, "updates": self.optimizer.count, **self.dataset_metadata}

    def arrays(self) -> dict[str, Floats]:
        """All arrays that training changes, by name; views, not copies.

        A non-finite number need not show in what is sent: an infinite second moment, for instance,
        makes every step zero.
        """
        optimizer = {f"optimizer.{k}": v for k, v in self.optimizer.named().items()}
        return {**self.stack.named(), **optimizer}
