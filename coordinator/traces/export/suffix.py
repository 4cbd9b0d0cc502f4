"""Check that the suffix of a file name agrees with the format that is written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from coordinator.traces.output import is_special
from protocol import SpecError

_SUFFIXES: Final = {
    "svg": (".svg",),
    "html": (".html", ".htm"),
    "perfetto": (".pftrace", ".perfetto-trace", ".perfetto", ".pb"),
    "chrome": (".json",),
    "csv": (".csv",),
    "jsonl": (".jsonl", ".ndjson"),
    "otlp": (".jsonl", ".ndjson", ".json"),
}
"""The suffixes of each format; an error proposes the first."""
_NEUTRAL: Final = (
    ".txt",
    ".trace",
    ".out",
    ".log",
    ".dat",
    ".data",
    ".tmp",
    ".bak",
    ".old",
    ".new",
)
"""Suffixes that name no format; permitted for tables and traces, not for images and pages."""
_IMAGES: Final = ("svg", "html")
_SUFFIX: Final = re.compile(r"\.(?!v?\d+$)\w+(?:-trace)?", re.ASCII)
"""A suffix that names a format; the ends of `run-0.5`, `a.v2` and `2026.01.02` do not."""


def check_suffix(option: str, form: str, file: Path) -> None:
    """Raise SpecError if the suffix of `file` belongs to another format than `form`.

    A pipe or a device may have any name.
    """
    stem, suffix = _split(file.name)
    accepted = _SUFFIXES[form] if form in _IMAGES else (*_SUFFIXES[form], *_NEUTRAL)
    if not suffix or suffix in accepted or is_special(file):
        return
    known = {*_NEUTRAL, ".png", ".tar"}.union(*_SUFFIXES.values())
    while _split(stem)[1] in known:
        stem = _split(stem)[0]
    name = f"{stem or 'trace'}{_SUFFIXES[form][0]}"
    raise SpecError(f"{option}: {file} is written as {form}, not {suffix}; name it {name}")


def _split(name: str) -> tuple[str, str]:
    """The stem of `name`, and its suffix in lower case or "".

    Trailing blanks and dots are ignored. The name `.png` is a suffix without a stem.
    """
    name = name.rstrip(" .")
    stem, dot, ending = name.rpartition(".")
    suffix = f"{dot}{ending}".lower()
    return (stem, suffix) if _SUFFIX.fullmatch(suffix) else (name, "")
