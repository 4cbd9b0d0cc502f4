"""The messages that a layer has received and not handled yet.

There are two queues, one for messages from below and one for messages from above, so that a full
queue cannot starve the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TypeAlias

from protocol import Activation, Credit, DataMessage, Gradient, Marker

FromBelow: TypeAlias = Activation | Marker
FromAbove: TypeAlias = Gradient | Credit | Marker | int
"""A number is the credit of a gradient that was dropped."""


class Inbox:
    """Both queues of a layer. At most `max_gradients` gradients wait in the one from above."""

    def __init__(self, max_gradients: float) -> None:
        self.max_gradients = max_gradients
        self.from_below: deque[FromBelow] = deque()
        self.from_above: deque[FromAbove] = deque()
        self.gradients = 0  # that wait in `from_above`

    def add_gradient(self, gradient: Gradient) -> Iterator[Gradient]:
        """Queue `gradient`; yields the gradients that are dropped for it, the oldest first.

        The credit of a dropped gradient keeps its place in the queue.
        """
        self.from_above.append(gradient)
        self.gradients += 1
        while self.gradients > self.max_gradients:
            yield self._drop_oldest()

    def _drop_oldest(self) -> Gradient:
        waiting = enumerate(self.from_above)
        place, oldest = next((i, m) for i, m in waiting if isinstance(m, Gradient))
        self.from_above[place] = oldest.credit
        self.gradients -= 1
        return oldest

    def messages(self) -> Iterator[DataMessage]:
        """All messages that wait."""
        yield from self.from_below
        yield from (message for message in self.from_above if not isinstance(message, int))
