"""The named data sets, and the function that loads them or a user's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from protocol.did_you_mean import did_you_mean
from protocol.errors import DataError
from workers.data import addition, cifar, digits, files, mnist
from workers.data.dataset import Dataset
from workers.data.download import Progress


@dataclass(frozen=True, slots=True)
class DatasetEntry:
    """A data set as `dni data list` shows it.

    `source` is "embedded", "generated", or URLs separated by ", ". `checksums` holds the MD5 (hex)
    of each file: of the decompressed content of a single file, and of an archive as it is.
    `location` is the file or folder that `load` would read, or None if the data set is generated
    or not downloaded yet.
    """

    name: str
    description: str
    source: str
    checksums: dict[str, str]
    location: Path | None


def _digits() -> DatasetEntry:
    return DatasetEntry(
        name="digits",
        description="1,797 handwritten digits, 8 x 8 pixels, 10 classes (UCI, CC BY 4.0)",
        source="embedded",
        checksums={digits.PATH.name: digits.MD5},
        location=digits.PATH,
    )


def _mnist() -> DatasetEntry:
    return DatasetEntry(
        name="mnist",
        description="70,000 handwritten digits, 28 x 28 pixels, 10 classes (LeCun et al.)",
        source=", ".join(mnist.MIRRORS),
        checksums={file.name: file.md5 for file in mnist.FILES.values()},
        location=mnist.find(),
    )


def _cifar10() -> DatasetEntry:
    return DatasetEntry(
        name="cifar10",
        description="60,000 photographs, 32 x 32 pixels in colour, 10 classes (Krizhevsky)",
        source=", ".join(f"{mirror}{cifar.FORMATS[0].archive}" for mirror in cifar.MIRRORS),
        checksums={form.archive: form.md5 for form in cifar.FORMATS},
        location=cifar.find(),
    )


def _addition() -> DatasetEntry:
    return DatasetEntry(
        name="addition",
        description="100 sums of two 7-bit numbers, bit by bit; the test set is the training set",
        source="generated",
        checksums={},
        location=None,
    )


_ENTRIES: dict[str, Callable[[], DatasetEntry]] = {
    "digits": _digits,
    "mnist": _mnist,
    "cifar10": _cifar10,
    "addition": _addition,
}
_LOADERS: dict[str, Callable[[], Dataset]] = {
    "digits": digits.load,
    "mnist": mnist.load,
    "cifar10": cifar.load,
    "addition": addition.load,
}


def names() -> list[str]:
    """The names that `load` and `get` take."""
    return list(_ENTRIES)


def list_datasets() -> list[DatasetEntry]:
    """Every named data set with its present location. Reads and verifies nothing."""
    return [describe() for describe in _ENTRIES.values()]


def load(
    name: str | None = None, path: str | Path | None = None, *, tests_only: bool = False
) -> Dataset:
    """The data set called `name`, or the user's own at `path`; give exactly one of them.

    `path` is an .npz of `x_train, y_train, x_test, y_test`, a folder of IDX files, a folder, tar or
    zip of images `train/<class>/*` and `test/<class>/*`, or CIFAR-10 in one of its formats. With
    `tests_only` the training set at `path` is not read and may be missing. MNIST and CIFAR-10 are
    downloaded if they are not on the disk. Raises DataError.
    """
    if (name is None) == (path is None):
        given = "neither" if name is None else f"both {name!r} and {str(path)!r}"
        raise DataError(f"data: give either a name or a path; {given} was given")
    if path is not None:
        return files.load(path, tests_only)
    try:
        known = _known(name)
    except DataError as error:
        raise DataError(f"data.name: {error}") from None
    return _LOADERS[known]()


def get(name: str, progress: Progress | None = None) -> Path | None:
    """The verified file or folder of the data set called `name`, downloaded if it is missing.

    None for a generated data set. `progress` is a progress bar, which is reset and closed once per
    downloaded file. Raises DataError.
    """
    match _known(name):
        case "mnist":
            return mnist.get(progress)
        case "cifar10":
            return cifar.get(progress)
        case "digits":
            return digits.PATH
    return None


def _known(name: str | None) -> str:
    if name not in _ENTRIES:
        raise DataError(
            f"there is no data set {name!r}; for a file of your own use data.path"
            f"{did_you_mean(str(name), _ENTRIES)}"
        )
    return name
