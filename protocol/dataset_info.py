"""The properties of a data set that layers need, on any host."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Final

from protocol.builtin import to_builtin
from protocol.codec.arrays import DTYPES
from protocol.errors import SpecError
from protocol.from_dict import LONGEST_LIST
from protocol.validation import require_at_least, require_one_of, require_positive

LARGEST_EXAMPLE: Final = 1 << 31
"""Numbers in an example."""
LARGEST_NAMES: Final = 1 << 16
"""Bytes of the names of all classes together."""
CLASS_NAMES: Final = "class_names"
"""The key of the class names in the metadata of weights."""


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """A description of a data set; raises SpecError for values that no data set can have.

    shape, dtype: of an example, as it is stored. scale: the factor for integers.
    labelled: whether targets are class numbers, not values. classes: the number of classes, or of
    target values. examples, tests: the sizes of the training set and the test set.
    labels: the lowest class numbers that occur, in order. distinct: how many different class
    numbers occur, or target values that could be class numbers saved as floats; 0 if not counted.
    class_names: the names of the classes by number, if they have names.
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
            require_at_least("shape", number, 1)
        if math.prod(self.shape) > LARGEST_EXAMPLE:
            raise SpecError(
                f"shape: {list(self.shape)!r:.60} is an example of more than 2^31 numbers"
            )
        require_one_of("dtype", self.dtype, tuple(DTYPES))
        require_positive("scale", self.scale)
        require_at_least("classes", self.classes, 1)
        require_at_least("examples", self.examples, 1)
        require_at_least("tests", self.tests, 0)
        require_at_least("distinct", self.distinct, len(self.labels))
        if self.class_names is not None and len(self.class_names) != self.classes:
            raise SpecError(
                f"class_names: {len(self.class_names)} names are not one for each of the "
                f"{self.classes} classes"
            )

    @property
    def summary(self) -> str:
        """Such as `1,437 training and 360 test examples of 8x8, 10 classes`."""
        classes = (self.labelled and self.distinct) or self.classes
        return dataset_summary(self.shape, classes, self.labelled, self.examples, self.tests)

    def as_dict(self) -> dict[str, object]:
        """Lists and scalars from which `from_dict` makes an equal value."""
        return to_builtin(asdict(self))


def dataset_summary(
    shape: tuple[int, ...], classes: int, labelled: bool, examples: int, tests: int
) -> str:
    """One line: the number and shape of the examples, the number of classes or target values."""
    counts = {"training": examples, "test": tests}
    parts = " and ".join(f"{count:,} {part}" for part, count in counts.items() if count)
    singular, plural = ("class", "classes") if labelled else ("target value", "target values")
    unit = singular if classes == 1 else plural
    return f"{parts} examples of {shape_text(shape)}, {classes:,} {unit}"


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape in the notation for people: `28x28`."""
    return "x".join(map(str, shape))


def usable_class_names(names: tuple[str, ...]) -> tuple[str, ...] | None:
    """`names`, or None if there are none, or too many or too long for messages and metadata."""
    try:
        size = len("".join(names).encode())
    except UnicodeError:  # folders whose names are not UTF-8
        return None
    return names if 0 < len(names) <= LONGEST_LIST and size <= LARGEST_NAMES else None


def parse_class_names(text: str) -> list[str]:
    """The class names in the metadata of weights. Raises ValueError for any other JSON."""
    names = json.loads(text)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{CLASS_NAMES}: {text!r:.40}")
    return names
