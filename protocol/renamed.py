"""Keys and values of pipelines that have been renamed, for hints in errors.

The old names are refused like any other unknown key; CHANGELOG.md lists them.
"""

from __future__ import annotations

from typing import Final

KEYS: Final = {
    "data.at": "data.host",
    "train.most_window": "train.max_window",
    "train.nonfinite": "train.on_nonfinite",
    "wire": "edge_dtype",
    "wires": "edge_dtypes",
    "workers": "placement",
}
"""The new key by the old one."""
VALUES: Final = {
    "train.schedule": {"free": "async"},
    "trace.mode": {"payloads": "messages"},
}
"""For a key, the new value by the old one."""
