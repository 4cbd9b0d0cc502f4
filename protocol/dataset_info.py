"""What the layers need to know of the data, wherever these are."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Final

from protocol.builtin import plain
from protocol.codec.schema import DTYPES
from protocol.errors import SpecError
from protocol.from_dict import LONGEST_LIST
from protocol.validation import at_least, one_of, positive

LARGEST_EXAMPLE: Final = 1 << 31
"""Numbers in it."""
LARGEST_NAMES: Final = 1 << 16
"""Bytes of all names of classes."""
CLASS_NAMES: Final = "class_names"
"""The key of the names of classes among the metadata of the weights."""


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """Of a data set. `examples` counts the training set, `tests` the test set.

    `labelled` tells class numbers from target values; `classes` is how many there are. `dtype` is
    that of the examples as they are stored, and `scale` what integers are multiplied by. `labels`
    are the lowest class numbers that occur, in order. `distinct` counts all of them, or the target
    values where these may be class numbers saved as floats; 0 where nobody counted. `class_names`
    are there where classes have names, in the order of their numbers. Raises SpecError for what no
    data can be like, since another machine may have said it.
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
    class_names: tuple[str, ...] | None = None

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
        if self.class_names is not None and len(self.class_names) != self.classes:
            raise SpecError(
                f"class_names: {len(self.class_names)} names are not one for each of the "
                f"{self.classes} classes"
            )

    @property
    def summary(self) -> str:
        """Such as `1,437 training and 360 test examples of 8x8, 10 classes`."""
        classes = (self.labelled and self.distinct) or self.classes
        return summary(self.shape, classes, self.labelled, self.examples, self.tests)

    def as_dict(self) -> dict[str, object]:
        """Plain lists and scalars that `build` makes the same facts of."""
        return plain(asdict(self))


def summary(shape: tuple[int, ...], classes: int, labelled: bool, examples: int, tests: int) -> str:
    """Data in a line: how many examples of what shape, and how many classes or target values."""
    counts = {"training": examples, "test": tests}
    parts = " and ".join(f"{count:,} {part}" for part, count in counts.items() if count)
    one, several = ("class", "classes") if labelled else ("target value", "target values")
    return f"{parts} examples of {sized(shape)}, {classes:,} {one if classes == 1 else several}"


def sized(shape: tuple[int, ...]) -> str:
    """The shape of an example as people write it: `28x28`."""
    return "x".join(map(str, shape))


def usable_names(names: tuple[str, ...]) -> tuple[str, ...] | None:
    """The `names` of classes, if there are any that messages and metadata can hold, else None."""
    try:
        size = len("".join(names).encode())
    except UnicodeError:  # folders whose names are not UTF-8
        return None
    return names if 0 < len(names) <= LONGEST_LIST and size <= LARGEST_NAMES else None


def class_names(text: str) -> list[str]:
    """The names of classes in the metadata of weights. Raises ValueError for anything else."""
    names = json.loads(text)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{CLASS_NAMES}: {text!r:.40}")
    return names
