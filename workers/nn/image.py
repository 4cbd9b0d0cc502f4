"""Images: examples of shape (height, width, channels), and the windows on them."""

from __future__ import annotations

from workers.nn.module import Shape


def image_shape(shape: Shape) -> tuple[int, int, int]:
    """Height, width and channels of an example; two numbers mean an image of one channel.

    Raises ValueError if `shape` is not that of an image.
    """
    if len(shape) not in (2, 3):
        raise ValueError(f"an image (height, width, channels) is needed, not {shape}")
    height, width, channels = (*shape, 1)[:3]
    return height, width, channels


def window_count(length: int, size: int, stride: int, pad: int) -> int:
    """The number of windows on a side of `length` with `pad` added at both ends, as in PyTorch.

    Raises ValueError if not even one window fits.
    """
    if size > length + 2 * pad:
        raise ValueError(f"a window of {size} is larger than the padded side of {length + 2 * pad}")
    return (length + 2 * pad - size) // stride + 1
