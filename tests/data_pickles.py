"""Pickles of a table as Python 2 wrote those of CIFAR-10, built by hand."""

from __future__ import annotations

import itertools
import struct

import numpy as np
from numpy.typing import NDArray


def python2(pixels: NDArray[np.uint8], labels: list[int]) -> bytes:
    """`{"batch_label": …, "labels": labels, "data": pixels, "filenames": …}`, protocol 2."""
    memo = (b"q" + bytes([number]) for number in itertools.count(1))

    def text(value: str) -> bytes:
        return b"U" + bytes([len(value)]) + value.encode() + next(memo)

    def numbers(*values: int) -> bytes:
        return b"".join(b"J" + struct.pack("<i", value) for value in values)

    def name(module: str, value: str) -> bytes:
        return f"c{module}\n{value}\n".encode() + next(memo)

    raw = pixels.tobytes()
    dtype = name("numpy", "dtype") + text("u1") + b"K\0K\1\x87" + next(memo) + b"R" + next(memo)
    dtype += b"(K\3" + text("|") + b"NNN" + numbers(-1, -1) + b"K\0t" + next(memo) + b"b"
    empty = name("numpy.core.multiarray", "_reconstruct") + name("numpy", "ndarray")
    empty += b"K\0\x85" + next(memo) + text("b") + b"\x87" + next(memo) + b"R" + next(memo)
    state = b"(K\1" + numbers(*pixels.shape) + b"\x86" + next(memo) + dtype + b"\x89"
    state += b"T" + struct.pack("<i", len(raw)) + raw + next(memo) + b"t" + next(memo) + b"b"
    whole = b"\x80\2}" + next(memo) + b"("
    whole += text("batch_label") + text("training batch 1 of 5")
    whole += text("labels") + b"]" + next(memo) + b"("
    whole += b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    whole += text("data") + empty + state
    whole += text("filenames") + b"]" + next(memo) + b"(" + text("a.png") + text("b.png") + b"e"
    return whole + b"u."
