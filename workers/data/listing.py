"""Lists in messages, limited to a readable length."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

MAX_LISTED: Final = 10


def listed(items: Iterable[object], most: int = MAX_LISTED, divider: str = ", ") -> str:
    """The first `most` of `items` and the number of the others: `a, b and 7 more`."""
    rest = iter(items)
    shown = divider.join(str(item) for item in islice(rest, most))
    more = sum(1 for _ in rest)
    return f"{shown} and {more:,} more" if more else shown
