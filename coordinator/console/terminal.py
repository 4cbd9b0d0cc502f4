"""The terminal, file or pipe to which the command line prints."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from typing import IO, Final

from rich.console import Console, RenderableType

from coordinator.console.columns import Phrases
from coordinator.console.standard_streams import tolerate_characters

PIPE_COLUMNS: Final = 120
"""The width of an image if the output is not a terminal."""
ENDLESS: Final = 1 << 20
"""The width of text if the output is not a terminal: no line is broken and no column left out."""
_SIZE: Final = re.compile(r"0*[1-9]\d{0,3}", re.ASCII)
"""The accepted values of COLUMNS and LINES; with 0 rich would show nothing."""
_CONTINUED: Final = "  | "
_HANG: Final = "    "
_BREAKS: Final = re.compile("(?<=[,:;]) ")


class Terminal(Console):
    """A rich console for standard output or standard error.

    If the reader closes the pipe, the console prints nothing more and the run continues. Text is
    never interpreted as markup. Characters that the terminal cannot encode get an ASCII spelling.
    """

    def __init__(self, stderr: bool = False) -> None:
        tolerate_characters(sys.stderr if stderr else sys.stdout)
        super().__init__(
            stderr=stderr, emoji=False, markup=False, highlight=False, _environ=_environment()
        )
        self.interactive = self.is_terminal and _isatty(self.file)
        self.image_width = self.width if self.interactive else PIPE_COLUMNS
        if not self.interactive:
            self.width = ENDLESS

    @property
    def encoding(self) -> str:
        """The encoding of the output."""
        return (getattr(self.file, "encoding", None) or "utf-8").lower()

    def print_text(self, text: str) -> None:
        """Print `text` with escapes for unprintable characters, each line after the first marked.

        The mark keeps quoted text from passing for a line of this program. A line that is wider
        than the terminal is broken after a comma, colon or semicolon only, so that numbers keep
        their units and a command can be copied.
        """
        for number, part in enumerate(text.rstrip("\n").split("\n")):
            phrases = _BREAKS.split(part)
            self.show(Phrases(phrases, " ", indent=_CONTINUED if number else "", hang=_HANG))

    def try_print(self, text: str) -> None:
        """Print `text`; a failure is ignored."""
        with suppress(OSError, ValueError):
            self.print_text(text)

    def show(self, *what: RenderableType) -> None:
        """Print tables, sentences and images; a line that is too wide is not cut."""
        self.print(*what, crop=False)

    def on_broken_pipe(self) -> None:
        """Print nothing from here on."""
        self.quiet = True


def _environment() -> dict[str, str]:
    """The environment without an impossible size of the terminal."""
    sizes = {name for name in ("COLUMNS", "LINES") if not _SIZE.fullmatch(os.environ.get(name, ""))}
    return {name: value for name, value in os.environ.items() if name not in sizes}


def _isatty(file: IO[str]) -> bool:
    try:
        return file.isatty()
    except (AttributeError, ValueError):  # it is closed, or not a file
        return False
