"""Random augmentation of images.

A batch is `(n, height, width)` or `(n, height, width, channels)` of any dtype. The functions move
whole pixels and do not depend on the dtype.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from protocol.did_you_mean import did_you_mean
from protocol.errors import SpecError

Array = NDArray[np.generic]
Step = Callable[[Array, np.random.Generator], Array]
AUGMENTATIONS: Final = {"flip": "flip", "crop": "crop <pixels>"}


def flip(x: Array, rng: np.random.Generator) -> Array:
    """A copy of the batch `x` with each image mirrored left to right with probability 1/2."""
    pixels = _pixels(x)
    chosen = rng.random(len(x)) < 0.5
    moved = pixels.copy()
    moved[chosen] = pixels[chosen, :, ::-1]
    return moved.view(x.dtype).reshape(x.shape)


def crop(x: Array, rng: np.random.Generator, margin: int) -> Array:
    """A copy of the batch `x` in which each image is shifted at random by up to `margin` pixels.

    The image is padded with `margin` zeros on every side and cropped to its size.
    """
    count, height, width = x.shape[:3]
    pixels = _pixels(x)
    padded = np.zeros((count, height + 2 * margin, width + 2 * margin), pixels.dtype)
    padded[:, margin : margin + height, margin : margin + width] = pixels
    pieces = sliding_window_view(padded, (height, width), axis=(1, 2))
    down, right = rng.integers(2 * margin + 1, size=(2, count))
    moved: NDArray[np.void] = pieces[np.arange(count), down, right]
    return moved.view(x.dtype).reshape(x.shape)


def _pixels(x: Array) -> NDArray[np.void]:
    """`x` as `(n, height, width)` with one void element per pixel."""
    channels = math.prod(x.shape[3:])
    pixel = np.dtype((np.void, channels * x.itemsize))
    return np.ascontiguousarray(x).reshape(*x.shape[:3], channels).view(pixel)[..., 0]


class Augment:
    """Applies `steps` such as `("flip", "crop 4")`, in order, to batches of examples of `shape`.

    Raises SpecError for an unknown step, for examples that are not images, and for a crop that is
    not smaller than the image.
    """

    def __init__(self, steps: Sequence[str], shape: Sequence[int]) -> None:
        if steps and len(shape) not in (2, 3):
            raise SpecError(
                f"data.augment: an example has shape {tuple(shape)}; only images, "
                f"(height, width) or (height, width, channels), can be augmented"
            )
        self._steps = [
            _step(step, min(shape[:2]), f"data.augment[{i}]") for i, step in enumerate(steps)
        ]

    def __bool__(self) -> bool:
        """Whether there are any steps."""
        return bool(self._steps)

    def __call__(self, x: Array, rng: np.random.Generator) -> Array:
        """The augmented batch, which depends on `x` and `rng` alone; `x` itself without steps."""
        for step in self._steps:
            x = step(x, rng)
        return x


def _step(text: str, side: int, key: str) -> Step:
    name, *numbers = text.split() or [""]
    if name not in AUGMENTATIONS:
        raise SpecError(
            f"{key}: unknown augmentation {text!r:.60}{did_you_mean(name, AUGMENTATIONS)}"
        )
    if len(numbers) != len(AUGMENTATIONS[name].split()) - 1:
        raise SpecError(f"{key}: {text!r:.60} should be {AUGMENTATIONS[name]!r}")
    if name == "flip":
        return flip
    (margin,) = numbers
    if not (margin.isdecimal() and len(margin) < 9 and 0 < int(margin) < side):
        raise SpecError(
            f"{key}: {text!r:.60}: a whole number is needed from 1 to {side - 1}, "
            f"less than the side of the image"
        )
    return partial(crop, margin=int(margin))
