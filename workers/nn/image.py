"""Pictures: examples of shape (height, width, channels), and where windows lie on them."""

from __future__ import annotations

from workers.nn.module import Shape


def picture(shape: Shape) -> tuple[int, int, int]:
    """Height, width and channels of an example; two numbers are a picture of one channel.

    Raises ValueError for what is no picture.
    """
    if len(shape) not in (2, 3):
        raise ValueError(f"a picture (height, width, channels) is needed, not {shape}")
    height, width, channels = (*shape, 1)[:3]
    return height, width, channels


def places(length: int, size: int, stride: int, pad: int) -> int:
    """How many windows fit on a side of `length` with `pad` more at both ends, as in PyTorch.

    Raises ValueError where not even one does.
    """
    if size > length + 2 * pad:
        raise ValueError(f"a window of {size} is larger than the padded side of {length + 2 * pad}")
    return (length + 2 * pad - size) // stride + 1
