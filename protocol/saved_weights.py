"""The saved weights of a layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from protocol.messages import Array


class SavedWeights(NamedTuple):
    """A file of a layer's weights: its path, its arrays by name, and its metadata."""

    path: str
    arrays: Mapping[str, Array]
    metadata: Mapping[str, str] = {}
