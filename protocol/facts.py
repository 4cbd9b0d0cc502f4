"""What the layers need to know of the data, wherever these are."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Final

from protocol.checks import at_least, one_of, positive
from protocol.errors import SpecError
from protocol.plain import plain
from protocol.schema import DTYPES

LARGEST_EXAMPLE: Final = 1 << 31
"""Numbers in it."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Of a data set. `examples` counts the training set, `tests` the test set.

    `labelled` tells class numbers from target values; `classes` is how many there are. `dtype` is
    that of the examples as they are stored, and `scale` what integers are multiplied by. `labels`
    are the lowest class numbers that occur, in order, and `distinct` counts all of them; 0 where
    nobody counted. Raises SpecError for what no data can be like, since another machine may have
    said it.
    """

    shape: tuple[int, ...]
    dtype: str
    scale: float
    classes: int
    labelled: bool
    examples: int
    tests: int
    labels: tuple[int, ...] = ()
    distinct: int = 0

    def __post_init__(self) -> None:
        for number in self.shape:
            at_least("shape", number, 1)
        if math.prod(self.shape) > LARGEST_EXAMPLE:
            raise SpecError(
                f"shape: {list(self.shape)!r:.60} is an example of more than 2^31 numbers"
            )
        one_of("dtype", self.dtype, tuple(DTYPES))
        positive("scale", self.scale)
        at_least("classes", self.classes, 1)
        at_least("examples", self.examples, 1)
        at_least("tests", self.tests, 0)
        at_least("distinct", self.distinct, len(self.labels))

    def as_dict(self) -> dict[str, object]:
        """Plain lists and scalars that `build` makes the same facts of."""
        return plain(asdict(self))
