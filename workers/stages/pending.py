"""Batches that a stage has sent and for which it awaits an answer, with what it keeps of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class SentBatch(NamedTuple):
    """What a stage keeps of a batch: its training step, and what the rule needs for the answer."""

    step: int
    memory: object


class PendingBatches:
    """Sent batches by number, in the order of sending, which is the order of their numbers."""

    def __init__(self) -> None:
        self._sent: dict[int, SentBatch] = {}

    def __len__(self) -> int:
        return len(self._sent)

    def __iter__(self) -> Iterator[int]:
        return iter(self._sent)

    def add(self, batch: int, step: int, memory: object) -> None:
        """Remember `batch`."""
        self._sent[batch] = SentBatch(step, memory)

    def pop(self, batch: int) -> SentBatch | None:
        """Forget `batch`, whose answer has come; None where it is not remembered."""
        return self._sent.pop(batch, None)

    def forget_until(self, batch: int) -> int:
        """Forget `batch` and all batches before it; returns how many were forgotten."""
        forgotten = 0
        while self._sent and (oldest := next(iter(self._sent))) <= batch:
            del self._sent[oldest]
            forgotten += 1
        return forgotten

    def forget_oldest(self, limit: int) -> int:
        """Forget the oldest batch if there are more than `limit`; returns how many: 0 or 1."""
        if len(self._sent) <= limit:
            return 0
        del self._sent[next(iter(self._sent))]
        return 1
