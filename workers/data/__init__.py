"""The examples that a network learns from: shipped, downloaded and the user's own.

Everything that enters here was made by somebody else, so everything is checked once, at
this door: an array that leaves it has the dtype and the shape its docstring promises, and
whatever is wrong is a `DataError` of one line that names the file, the array and the mend.
"""

from workers.data.catalogue import Entry, catalogue, get, load, names
from workers.data.dataset import Dataset
from workers.data.download import Progress

__all__ = ["Dataset", "Entry", "Progress", "catalogue", "get", "load", "names"]
