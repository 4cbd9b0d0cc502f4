"""Errors that a user or a peer caused. The text of each is one line and the whole explanation."""

from __future__ import annotations

from typing import Final

DISTRIBUTION: Final = "dni-train"
"""The name of this program for pip; `dni` is another package on the public index."""


class UserError(Exception):
    """A mistake that the user can correct."""


class SpecError(UserError):
    """An invalid pipeline: an unknown key, a wrong module, shapes that do not fit."""


class DataError(UserError):
    """Data that are missing, not what their name promises, or not usable by the pipeline."""


class RunError(UserError):
    """A run folder or a run that is missing, incomplete, or cannot start."""


class LostError(UserError):
    """The process that started this one is gone. The user made no mistake."""


def install_hint(extra: str) -> str:
    """How to install the packages of the optional `extra`, such as "plot"."""
    return f"run pip install '.[{extra}]' in the checkout of dni"
