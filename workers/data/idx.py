"""The IDX format of MNIST: a magic number, big-endian sizes, then the elements.

Source: http://yann.lecun.com/exdb/mnist/ ("The IDX file format"). The magic number is two
zero bytes, a code for the element type and the number of axes; each size is a uint32.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from protocol.errors import DataError
from workers.data.streams import read_up_to

NAMES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}

RAW = "raw"
"""The subfolder in which torchvision stores the files of a data set."""
DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_AXES = 32
_NAME = re.compile(r"(train|t10k|test)-(images|labels)[-.]idx\d+-\w+(\.gz)?")
_AT_END = re.compile(rf"(.+?){_NAME.pattern}")


def read_idx(stream: BinaryIO, label: str) -> NDArray[np.generic]:
    """The array in an IDX `stream`, in native byte order and with the shape in its header.

    Reads no more than the stream holds and no more than the header states. Raises DataError that
    begins with `label` for anything but exactly one IDX array.
    """
    magic = read_up_to(stream, 4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in DTYPES:
        raise DataError(f"{label}: starts with {magic.hex(' ') or 'nothing'}; not an IDX file")
    if magic[3] > _MAX_AXES:
        raise DataError(f"{label}: its IDX header states {magic[3]} axes; at most {_MAX_AXES}")
    sizes = read_up_to(stream, 4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError(f"{label}: ends within its IDX header; fetch the file again")
    shape = struct.unpack(f">{magic[3]}I", sizes)
    return _elements(stream, np.dtype(DTYPES[magic[2]]), shape, label)


def _elements(
    stream: BinaryIO, dtype: np.dtype[np.generic], shape: tuple[int, ...], label: str
) -> NDArray[np.generic]:
    stated = math.prod(shape) * dtype.itemsize
    data = read_up_to(stream, stated)
    if len(data) < stated or stream.read(1):
        held = f"only {len(data)}" if len(data) < stated else "more"
        raise DataError(
            f"{label}: its IDX header states {stated} bytes of elements {shape} but the file "
            f"holds {held}; fetch the file again"
        )
    if stated == 0:
        raise DataError(f"{label}: its IDX header states no elements: {shape}")
    array = np.frombuffer(data, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def files_in(folder: Path) -> dict[str, Path]:
    """The IDX files of a data set in `folder`, by the array that they hold: `"x_train"`, ...

    A file is recognised by its usual name (`train-images-idx3-ubyte`, `t10k-labels.idx1-ubyte.gz`,
    also `test-...`). Of several files for one array, the first by name is taken. Empty if there is
    no folder. Raises DataError if the folder cannot be read.
    """
    found: dict[str, Path] = {}
    try:
        for path in sorted(folder.iterdir()):
            if (match := _NAME.fullmatch(path.name)) and path.is_file():
                found.setdefault(_key(match[1], match[2]), path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror or error}") from error
    return found


def common_prefix(names: Iterable[str]) -> str | None:
    """The text before a usual name at the end of the first such name, as in EMNIST; else None."""
    found = (_AT_END.fullmatch(name) for name in names)
    return next((match[1] for match in found if match), None)


def raw_folders(folder: Path) -> list[Path]:
    """The folders `raw` with IDX files in `folder` and in its subfolders."""
    places = (folder / RAW, *sorted(folder.glob(f"*/{RAW}")))
    return [place for place in places if files_in(place)]


def _key(part: str, what: str) -> str:
    return f"{'x' if what == 'images' else 'y'}_{'train' if part == 'train' else 'test'}"
