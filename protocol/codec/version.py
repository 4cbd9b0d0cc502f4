"""The version of the protocol."""

from __future__ import annotations

from typing import Final

VERSION: Final = 2
