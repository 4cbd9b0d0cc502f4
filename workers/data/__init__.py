"""The examples that a network learns from: shipped, downloaded and the user's own.

Everything that enters here was made by somebody else, so everything is checked once, at
this door: an array that leaves it has the dtype and the shape its docstring promises, and
whatever is wrong is a `DataError` of one line that names the file, the array and the mend.
"""

from pathlib import Path

from workers.data.augment import Augment
from workers.data.catalogue import DatasetEntry, catalogue, get, load, names
from workers.data.dataset import Dataset
from workers.data.download import Progress
from workers.data.notes import channels_first, renumbering

EXAMPLE = Path(__file__).with_name("digits.toml")
"""The pipeline file that ships with the digits."""

__all__ = [
    "EXAMPLE",
    "Augment",
    "Dataset",
    "DatasetEntry",
    "Progress",
    "catalogue",
    "channels_first",
    "get",
    "load",
    "names",
    "renumbering",
]
