"""Decoupled neural interfaces: a layer learns from a predicted gradient (arXiv 1608.05343)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, cast

from protocol import Activation, Pipeline, Send
from workers.nn import Floats, Stack
from workers.nn.optim import Optimizer
from workers.rules.synthetic import ModelInput, Prediction, SyntheticGradient
from workers.stages.layer import LayerStage, Rng
from workers.stages.pending import SentBatch


class _BegunBatch(NamedTuple):
    """A batch that was sent up and from which the layer has not learned yet."""

    message: Activation
    y: Floats
    caches: list[object]


class DniLayer(LayerStage):
    """dni and cdni: a layer learns at once from a synthetic gradient.

    The true gradient, when it comes, fits the gradient model. Between sending a batch up and
    predicting its gradient, a layer uses the true gradients that have come meanwhile: the
    prediction is better for it, and fewer predictions of an older model must be computed again for
    the fit.
    """

    def __init__(
        self,
        index: int,
        pipeline: Pipeline,
        stack: Stack,
        optimizer: Optimizer,
        rng: Rng,
        synthetic: SyntheticGradient,
    ) -> None:
        super().__init__(index, pipeline, stack, optimizer, rng)
        self.synthetic = synthetic
        self._synthetic_lr = pipeline.synthetic.lr or pipeline.train.lr
        self._begun_batch: _BegunBatch | None = None

    def _train(self, message: Activation) -> Iterator[Send]:
        y, caches = self._forward(message)
        self._begun, self._begun_batch = message.batch, _BegunBatch(message, y, caches)
        yield from self._send_up(message, y)

    def _complete(self) -> Iterator[Send]:
        assert self._begun_batch is not None
        message, y, caches = self._begun_batch
        self._begun, self._begun_batch = 0, None
        if not self.chooses_batch():
            self._remember(message, self.synthetic.model_input(y, message.labels))
            self._finish(message.batch)
            return
        prediction = self.synthetic.predict(y, message.labels)
        self._remember(message, prediction)
        dx = self._learn(message.step, caches, prediction.value)
        yield from self._send_down(message.batch, dx)

    def on_true_gradient(
        self,
        batch: int,  # noqa: ARG002
        sent: SentBatch,
        true_gradient: Floats,
    ) -> Iterator[Send]:
        """Train the gradient model; the layer itself has learnt from the prediction."""
        prediction = self._prediction_of(sent)
        self.stats.compare(prediction.value, true_gradient)
        self.synthetic.fit(prediction, true_gradient, self._lr(self._synthetic_lr, sent.step))
        return iter(())

    def _prediction_of(self, sent: SentBatch) -> Prediction:
        """The prediction of a batch; it is made now if the layer did not update on the batch."""
        if isinstance(sent.memory, Prediction):
            return sent.memory
        return self.synthetic.apply(cast(ModelInput, sent.memory))

    def metadata(self) -> dict[str, object]:
        """See `LayerStage.metadata`."""
        return super().metadata() | self.synthetic.metadata("synthetic")

    def arrays(self) -> dict[str, Floats]:
        """See `LayerStage.arrays`."""
        return super().arrays() | self.synthetic.named("synthetic")
