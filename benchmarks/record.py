"""Saves the figures of a benchmark to docs/results/NAME.json, with their provenance.

`python -m benchmarks.table` makes docs/results.md and the table of README.md from these files.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import threadpoolctl

ROOT: Final = Path(__file__).parent.parent
RESULTS: Final = ROOT / "docs" / "results"
GENERATED: Final = (":!docs/results", ":!docs/results.md", ":!README.md")
"""Files that saving a result changes; changes to them do not make a commit dirty."""


@dataclass(frozen=True)
class Figure:
    """A measured number; of several rounds, the median or mean, the least and the greatest value.

    `standard_error` is that of the mean. `target` says which value is wanted, for example "≥ 0.98".
    """

    name: str
    value: float
    unit: str = ""
    low: float | None = None
    high: float | None = None
    standard_error: float | None = None
    target: str = ""


def median(name: str, values: Sequence[float], unit: str = "", target: str = "") -> Figure:
    """The median of `values`, with their range."""
    low, high = _bounds(values)
    return Figure(name, statistics.median(values), unit, low, high, target=target)


def mean(name: str, values: Sequence[float], unit: str = "", target: str = "") -> Figure:
    """The mean of `values`, with their range and its standard error."""
    low, high = _bounds(values)
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
    return Figure(name, statistics.mean(values), unit, low, high, error, target)


def _bounds(values: Sequence[float]) -> tuple[float | None, float | None]:
    return (min(values), max(values)) if len(values) > 1 else (None, None)


@dataclass(frozen=True)
class Provenance:
    """What the figures were measured with; None where it is unknown.

    `commit` is the measured one, with the word "dirty" if files differed from it. `recorded_in` is
    the commit that added figures by hand; it is None for figures that a benchmark saved.
    """

    commit: str | None
    date: str | None
    processor: str | None
    cpus: int | None
    python: str | None
    numpy: str | None
    blas: str | None
    recorded_in: str | None = None


@dataclass(frozen=True)
class BenchmarkResult:
    """The figures of one benchmark: a file in docs/results."""

    title: str
    command: str | None
    provenance: Provenance
    figures: tuple[Figure, ...]
    note: str = ""


def provenance() -> Provenance:
    """The provenance of what this process measures."""
    return Provenance(
        commit=commit(),
        date=datetime.now(UTC).date().isoformat(),
        processor=processor(),
        cpus=len(os.sched_getaffinity(0)),
        python=platform.python_version(),
        numpy=np.__version__,
        blas=blas(),
    )


def commit() -> str | None:
    """The commit of the working tree, with "dirty" if files differ from it; None without git."""
    head = _git("rev-parse", "--short=12", "HEAD")
    if head is None:
        return None
    return f"{head} dirty" if _git("status", "--porcelain", "--", ".", *GENERATED) else head


def _git(*arguments: str) -> str | None:
    try:
        ran = subprocess.run(
            ["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return ran.stdout.strip()


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """The processor's name, family and model; on systems without `cpuinfo` what Python knows."""
    try:
        lines = cpuinfo.read_text("utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or None
    found = {key.strip(): value.strip() for key, _, value in (x.partition(":") for x in lines)}
    if "model name" not in found:
        return platform.processor() or None
    return f"{found['model name']} (family {found['cpu family']}, model {found['model']})"


def blas() -> str | None:
    """The library of matrix products that numpy uses, its version and its kernels."""
    for library in threadpoolctl.threadpool_info():
        if library["user_api"] == "blas":
            kernels = library.get("architecture", "unknown kernels")
            return f"{library['internal_api']} {library['version']} ({kernels})"
    return None


def add_save_option(parser: argparse.ArgumentParser) -> None:
    """Add `--save [NAME]`."""
    parser.add_argument(
        "--save",
        nargs="?",
        const="",
        metavar="NAME",
        help="write the figures to docs/results/NAME.json (default: the benchmark's name)",
    )


def save(name: str | None, title: str, figures: Sequence[Figure], note: str = "") -> None:
    """Write the figures to docs/results; `name` is the value of --save, None writes nothing."""
    if name is None:
        return
    own = Path(sys.argv[0]).stem.replace("_", "-")
    result = BenchmarkResult(title, command(sys.argv), provenance(), tuple(figures), note)
    write(RESULTS / f"{name or own}.json", result)


def write(path: Path, result: BenchmarkResult) -> None:
    """Write `result` to the file `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(asdict(result), indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(f"{text}\n", "utf-8")


def read(path: Path) -> BenchmarkResult:
    """The result in the file `path`."""
    found = json.loads(path.read_text("utf-8"))
    return BenchmarkResult(
        title=found["title"],
        command=found["command"],
        provenance=Provenance(**found["provenance"]),
        figures=tuple(Figure(**figure) for figure in found["figures"]),
        note=found["note"],
    )


def command(arguments: Sequence[str]) -> str:
    """The command line that repeats the benchmark with these arguments, without --save."""
    program, *rest = arguments
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_save_option(parser)
    _, kept = parser.parse_known_args(rest)
    return shlex.join(["python", "-m", f"benchmarks.{Path(program).stem}", *kept])
