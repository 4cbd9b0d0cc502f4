"""Export the traces of a run to the formats of other tools."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final, TextIO

from coordinator.traces.export.chrome import write_chrome
from coordinator.traces.export.otlp import write_otlp
from coordinator.traces.export.perfetto import write_perfetto
from coordinator.traces.export.suffix import check_suffix
from coordinator.traces.export.tables import write_csv, write_jsonl
from coordinator.traces.output import write_output, write_output_text
from coordinator.traces.run import Traces
from protocol import RunError, did_you_mean

_TEXTS: Final[dict[str, Callable[[Traces, TextIO], int]]] = {
    "chrome": write_chrome,
    "csv": write_csv,
    "jsonl": write_jsonl,
    "otlp": write_otlp,
}
FORMS: Final = ("perfetto", *_TEXTS)


def export(traces: Traces, form: str, path: Path) -> int:
    """Write `traces` to `path` in one of FORMS; return the number of entries.

    Entries are messages in csv and jsonl, spans in otlp, events in perfetto and chrome. Raises
    SpecError if the file name has the suffix of another format, RunError if the file cannot be
    written; an existing file stays as it was.
    """
    if form not in FORMS:
        raise RunError(f"--to: unknown format {form!r}{did_you_mean(form, FORMS)}")
    check_suffix("--to", form, path)
    written = 0

    def write(file: BinaryIO) -> None:
        nonlocal written
        written = write_perfetto(traces, file)

    def write_text(file: TextIO) -> None:
        nonlocal written
        written = _TEXTS[form](traces, file)

    if form == "perfetto":
        write_output(path, write)
    else:
        write_output_text(path, write_text)
    return written
