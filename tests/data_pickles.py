"""Pickles of a table as Python 2 wrote those of CIFAR-10, put together by hand."""

from __future__ import annotations

import itertools
import struct

import numpy as np
from numpy.typing import NDArray


def python2(pixels: NDArray[np.uint8], labels: list[int]) -> bytes:
    """`{"batch_label": …, "labels": labels, "data": pixels, "filenames": …}`, protocol 2."""
    put = (b"q" + bytes([number]) for number in itertools.count(1))

    def text(word: str) -> bytes:
        return b"U" + bytes([len(word)]) + word.encode() + next(put)

    def numbers(*values: int) -> bytes:
        return b"".join(b"J" + struct.pack("<i", value) for value in values)

    def name(module: str, word: str) -> bytes:
        return f"c{module}\n{word}\n".encode() + next(put)

    raw = pixels.tobytes()
    dtype = name("numpy", "dtype") + text("u1") + b"K\0K\1\x87" + next(put) + b"R" + next(put)
    dtype += b"(K\3" + text("|") + b"NNN" + numbers(-1, -1) + b"K\0t" + next(put) + b"b"
    empty = name("numpy.core.multiarray", "_reconstruct") + name("numpy", "ndarray")
    empty += b"K\0\x85" + next(put) + text("b") + b"\x87" + next(put) + b"R" + next(put)
    state = b"(K\1" + numbers(*pixels.shape) + b"\x86" + next(put) + dtype + b"\x89"
    state += b"T" + struct.pack("<i", len(raw)) + raw + next(put) + b"t" + next(put) + b"b"
    whole = b"\x80\2}" + next(put) + b"("
    whole += text("batch_label") + text("training batch 1 of 5")
    whole += text("labels") + b"]" + next(put) + b"("
    whole += b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    whole += text("data") + empty + state
    whole += text("filenames") + b"]" + next(put) + b"(" + text("a.png") + text("b.png") + b"e"
    return whole + b"u."
