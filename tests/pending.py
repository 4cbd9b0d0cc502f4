"""Files and folders whose rewriting is not finished; each owner removes what is done."""

from __future__ import annotations

from typing import Final

NAMES: Final[tuple[str, ...]] = ()
"""For `tests/test_names.py`."""

STRUCTURE: Final[tuple[str, ...]] = ()
"""For `tests/test_structure.py`."""
