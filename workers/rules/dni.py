"""The learning rules: what a layer does with a batch and with the gradient that answers it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple, cast

from protocol import COORDINATOR, Activation, Evaluated, Mark, Pipeline, Send
from workers.nn import Floats, Loss, Stack
from workers.nn.optim import Optimizer
from workers.rules.synthetic import Entered, Guess, SyntheticGradient
from workers.stages.layer import Layer, Rng, Sent


class Fixed(Layer):
    """no-bprop: hidden layers keep their first weights; only the top layer learns."""


class Locked(Layer):
    """backprop: a layer learns when the true gradient comes, and nothing else happens till then."""

    def _train(self, message: Activation) -> Iterator[Send]:
        y, caches = self._forward(message)
        self._remember(message, caches)
        yield from self._up(message, y)

    def _taught(self, batch: int, sent: Sent, truth: Floats) -> Iterator[Send]:
        caches = cast(list[object], sent.memory)
        yield from self._down(batch, self._learn(sent.step, caches, truth, self._chosen()))


class _InHand(NamedTuple):
    """A batch that was sent up and not learnt from yet."""

    message: Activation
    y: Floats
    caches: list[object]


class Decoupled(Layer):
    """dni and cdni: a layer learns at once from a guess; the true gradient teaches the guesser.

    Between sending a batch up and guessing, a layer uses the true gradients that came meanwhile:
    the guess is better for it, and an older one less often has to be made again to learn from.
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
        self._in_hand: _InHand | None = None

    def _train(self, message: Activation) -> Iterator[Send]:
        y, caches = self._forward(message)
        self._begun, self._in_hand = message.batch, _InHand(message, y, caches)
        yield from self._up(message, y)

    def _complete(self) -> Iterator[Send]:
        assert self._in_hand is not None
        message, y, caches = self._in_hand
        self._begun, self._in_hand = 0, None
        if not self._chosen():
            self._remember(message, self.synthetic.joined(y, message.labels))
            self._finish(message.batch)
            return
        guess = self.synthetic.guess(y, message.labels)
        self._remember(message, guess)
        yield from self._down(message.batch, self._learn(message.step, caches, guess.value))

    def _taught(self, batch: int, sent: Sent, truth: Floats) -> Iterator[Send]:  # noqa: ARG002
        memory = sent.memory  # a guess or, of a batch that was not learnt from, what to guess from
        guess = memory if isinstance(memory, Guess) else self.synthetic.of(cast(Entered, memory))
        self.stats.compare(guess.value, truth)
        self.synthetic.teach(guess, truth, self._lr(self._synthetic_lr, sent.step))
        return iter(())

    def _facts(self) -> dict[str, object]:
        return super()._facts() | self.synthetic.facts("synthetic")

    def _named(self) -> dict[str, Floats]:
        return super()._named() | self.synthetic.named("synthetic")


class Top(Layer):
    """The layer under the loss: it knows the truth and learns from it at once, in every rule."""

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
        self._locked = pipeline.rule == "backprop"
        self._evaluation = self._nothing_judged

    @property
    def _nothing_judged(self) -> Evaluated:
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
        judgement = self._loss(y, message.labels)
        self.stats.lost(self._finite(judgement.loss, "the loss"), len(y))
        chosen = self._chosen()
        if chosen or self._locked:
            dx = self._learn(message.step, caches, judgement.gradient, chosen)
            yield from self._down(message.batch, dx)
        else:
            self._finish(message.batch)

    def _evaluate(self, message: Activation) -> Iterator[Send]:
        y, _ = self.stack.forward(message.x, train=False)
        loss, _, errors, judged, _ = self._loss(y, message.labels)
        self._finite(loss, "the test loss")
        so_far = self._evaluation
        self._evaluation = replace(
            so_far,
            loss=so_far.loss + loss,
            errors=so_far.errors + errors,
            judged=so_far.judged + judged,
        )
        return iter(())

    def _pass(self, mark: Mark) -> Iterator[Send]:
        if mark.mark == "evaluated":
            yield Send(COORDINATOR, replace(self._evaluation, step=mark.step))
            self._evaluation = self._nothing_judged
        elif mark.mark == "drain":
            yield Send(self.below, Mark("drained", mark.step))
