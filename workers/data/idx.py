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
"""The folder of the files below that of the data set, where torchvision keeps them."""
DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_AXES = 32
_NAME = re.compile(r"(train|t10k|test)-(images|labels)[-.]idx\d+-\w+(\.gz)?")
_AT_END = re.compile(rf"(.+?){_NAME.pattern}")


def read_idx(stream: BinaryIO, label: str) -> NDArray[np.generic]:
    """The array in an IDX `stream`, in native byte order and of the shape in its header.

    Never holds more than what is there nor more than the header claims.
    Raises DataError, which starts with `label`, for anything but exactly one IDX array.
    """
    magic = read_up_to(stream, 4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in DTYPES:
        raise DataError(f"{label}: starts with {magic.hex(' ') or 'nothing'}; no IDX file")
    if magic[3] > _MAX_AXES:
        raise DataError(f"{label}: its IDX header claims {magic[3]} axes; at most {_MAX_AXES}")
    sizes = read_up_to(stream, 4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError(f"{label}: ends within its IDX header; fetch the file again")
    shape = struct.unpack(f">{magic[3]}I", sizes)
    return _elements(stream, np.dtype(DTYPES[magic[2]]), shape, label)


def _elements(
    stream: BinaryIO, dtype: np.dtype[np.generic], shape: tuple[int, ...], label: str
) -> NDArray[np.generic]:
    claimed = math.prod(shape) * dtype.itemsize
    data = read_up_to(stream, claimed)
    if len(data) < claimed or stream.read(1):
        held = f"only {len(data)}" if len(data) < claimed else "more"
        raise DataError(
            f"{label}: its IDX header claims {claimed} bytes of elements {shape} but the file "
            f"holds {held}; fetch the file again"
        )
    if claimed == 0:
        raise DataError(f"{label}: its IDX header claims no elements: {shape}")
    array = np.frombuffer(data, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def files_in(folder: Path) -> dict[str, Path]:
    """The IDX files of a data set in `folder`, by the array they hold: `"x_train"`, ...

    Known by their usual names (`train-images-idx3-ubyte`, `t10k-labels.idx1-ubyte.gz`, also
    `test-...`); of several for one array, the first by name. Empty when there is no folder.
    Raises DataError for a folder that may not be read.
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
    """What is before the usual name in the first of these names that only ends so, as of EMNIST."""
    found = (_AT_END.fullmatch(name) for name in names)
    return next((match[1] for match in found if match), None)


def raw_folders(folder: Path) -> list[Path]:
    """The folders `raw` in `folder`, and in the folders in it, that hold IDX files."""
    places = (folder / RAW, *sorted(folder.glob(f"*/{RAW}")))
    return [place for place in places if files_in(place)]


def _key(part: str, what: str) -> str:
    return f"{'x' if what == 'images' else 'y'}_{'train' if part == 'train' else 'test'}"
