"""Data sets: embedded, generated, downloaded, and the user's own files.

All files are untrusted input and are validated here. Every array that this package returns has the
documented dtype and shape. Every fault is a `DataError` of one line that names the file, the array
and the remedy.
"""

from pathlib import Path

from workers.data.augment import Augment
from workers.data.catalogue import DatasetEntry, get, list_datasets, load, names
from workers.data.dataset import Dataset
from workers.data.download import Progress
from workers.data.notes import channels_first, renumbering

EXAMPLE = Path(__file__).with_name("digits.toml")
"""The pipeline file for the embedded digits."""

__all__ = [
    "EXAMPLE",
    "Augment",
    "Dataset",
    "DatasetEntry",
    "Progress",
    "channels_first",
    "get",
    "list_datasets",
    "load",
    "names",
    "renumbering",
]
