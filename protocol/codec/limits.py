"""How large a message may be, and which of its arrays travel inside the header."""

from __future__ import annotations

from typing import Final

MAX_HEADER: Final = 1 << 20
"""Bytes of a header, arrays inside it included."""
MAX_ARRAYS: Final = 1 << 12
"""Arrays of a message; also items of any list and entries of any map in a header."""
MAX_DIMENSIONS: Final = 8
"""Dimensions of an array."""
INLINE: Final = 1 << 13
"""Bytes of arrays that the sender puts inside a header, because a frame costs more than a copy of
them; a receiver accepts any number."""
