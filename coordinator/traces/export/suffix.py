"""A file's name must not promise another format than what is written into it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

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
_OTHERS: Final = {
    *(".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".pdf", ".ps", ".eps"),
    *(".svgz", ".xhtml", ".xml", ".md", ".toml", ".yaml", ".yml", ".tsv", ".xls", ".xlsx"),
    *(".parquet", ".feather", ".arrow", ".npy", ".npz", ".db", ".sqlite"),
    *(".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".tgz"),
}
"""Suffixes of formats that nothing here writes. Any other suffix says nothing of a format."""


def check(option: str, form: str, file: Path) -> None:
    """Refuse a `file` whose suffix names another format than `form`. Raises SpecError."""
    suffix = file.suffix.lower()
    known = _OTHERS.union(*_OWN.values())
    if suffix in known and suffix not in _OWN[form]:
        name = f"{file.stem}{_OWN[form][0]}"
        raise SpecError(f"{option}: {file} is written as {form}, not {suffix}; name it {name}")
