"""How a run ended."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

Outcome: TypeAlias = Literal["completed", "interrupted", "failed"]


@dataclass(frozen=True, slots=True)
class RunEnd:
    """The end of a run. `text` explains a failure; `user` is set if the user can correct it."""

    outcome: Outcome
    text: str = ""
    user: bool = False

    def with_failure(self, text: str) -> RunEnd:
        """The same end after the failure `text`, as a failed one."""
        if text in self.text:
            return self
        return replace(self, outcome="failed", text=f"{self.text}\n{text}".strip())
