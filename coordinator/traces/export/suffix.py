"""A file's name must not promise another format than what is written into it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from coordinator.traces.output import is_special
from protocol import SpecError

_OWN: Final = {
    "svg": (".svg",),
    "html": (".html", ".htm"),
    "perfetto": (".pftrace", ".perfetto-trace", ".perfetto", ".pb"),
    "chrome": (".json",),
    "csv": (".csv",),
    "jsonl": (".jsonl", ".ndjson"),
    "otlp": (".jsonl", ".ndjson", ".json"),
}
"""By format, the suffixes that name it; the first is proposed."""
_ANY: Final = (".txt", ".trace", ".out", ".log", ".dat", ".data", ".tmp", ".bak", ".old", ".new")
"""Suffixes that name no format; a table or a trace may have them, a picture or a page not."""
_PICTURES: Final = ("svg", "html")
_SUFFIX: Final = re.compile(r"\.(?!v?\d+$)\w+(?:-trace)?", re.ASCII)
"""What says something of a format; the end of `run-0.5`, `a.v2` or `2026.01.02` says nothing."""


def check(option: str, form: str, file: Path) -> None:
    """Refuse a `file` whose suffix is none of those of `form`. Raises SpecError.

    A pipe or a device may have any name.
    """
    stem, suffix = _parted(file.name)
    taken = _OWN[form] if form in _PICTURES else (*_OWN[form], *_ANY)
    if not suffix or suffix in taken or is_special(file):
        return
    known = {*_ANY, ".png", ".tar"}.union(*_OWN.values())
    while _parted(stem)[1] in known:
        stem = _parted(stem)[0]
    name = f"{stem or 'trace'}{_OWN[form][0]}"
    raise SpecError(f"{option}: {file} is written as {form}, not {suffix}; name it {name}")


def _parted(name: str) -> tuple[str, str]:
    """`name` without its suffix, and the suffix in small letters, "" for none.

    Blanks and dots at the end of a name are no part of either. `.png` is a suffix alone.
    """
    name = name.rstrip(" .")
    stem, dot, word = name.rpartition(".")
    suffix = f"{dot}{word}".lower()
    return (stem, suffix) if _SUFFIX.fullmatch(suffix) else (name, "")
