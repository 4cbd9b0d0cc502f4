"""Makes docs/results.md, and the table of figures in README.md, from the files in docs/results.

python -m benchmarks.table
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from benchmarks.record import RESULTS, ROOT, BenchmarkResult, Figure, Provenance, read

PAGE: Final = ROOT / "docs" / "results.md"
README: Final = ROOT / "README.md"
START, END = "<!-- figures from docs/results -->\n", "<!-- end of figures -->\n"

HEAD: Final = """\
# Results

The newest figures of each benchmark. `python -m benchmarks.table` generates this page from the
files in [results](results); a benchmark writes its file with `--save`. `DNI_DATA` names the folder
of MNIST. Ratios are medians or means of the ratios within one round, so slow changes of a host's
speed do not matter. Figures of different hosts or dates are not comparable. "Recorded in" names the
commit that added figures by hand, where the measured commit is not known. What the figures mean,
and what did not help, is in [lessons](lessons.md).
"""


class Row(NamedTuple):
    """A row of the README's table: the label, and the file and the name of the figure."""

    label: str
    file: str
    figure: str


ROWS: Final = (
    Row("MNIST, 4 layers, `cdni`, 3,000 steps: test error", "mnist", "cdni: test error"),
    Row("the same with `backprop`", "mnist", "backprop: test error"),
    Row("`cdni` in 5 processes", "throughput", "dni: cdni"),
    Row("`backprop` in the same processes", "throughput", "dni: backprop"),
    Row("cDNI in PyTorch, one process, all cores", "throughput", "PyTorch: cdni"),
    Row("`cdni` on four hosts without delay", "delay-000ms", "dni, cdni"),
    Row("`cdni` on four hosts 50 ms apart", "delay-050ms", "dni, cdni"),
    Row("PyTorch's 1F1B pipeline on the same hosts, 50 ms apart", "delay-050ms", "PyTorch, 1F1B"),
    Row("MNIST, 6 layers, `cdni`, 8,000 steps: test error", "table1-mnist", "6 layers: test error"),
    Row("nothing locked, 10,000 steps: test error", "unlocked", "test error"),
    Row("rate with traces / rate without", "switched", "on / off: mean"),
)


def results() -> dict[str, BenchmarkResult]:
    """The results in docs/results, by the names of their files."""
    return {path.stem: read(path) for path in sorted(RESULTS.glob("*.json"))}


def page(found: Mapping[str, BenchmarkResult]) -> str:
    """The text of docs/results.md."""
    return "\n".join([HEAD, *(line for result in found.values() for line in _section(result))])


def _section(result: BenchmarkResult) -> Iterator[str]:
    yield f"## {result.title}\n"
    if result.command:
        yield f"`{result.command}`\n"
    yield f"{_origin(result.provenance)}.\n"
    if result.note:
        yield f"{result.note}\n"
    yield from _table(result.figures)
    yield ""


def _origin(known: Provenance) -> str:
    parts = [
        known.commit and f"Commit {known.commit}",
        known.recorded_in and f"Recorded in {known.recorded_in}",
        known.date,
        known.processor,
        known.cpus and f"{known.cpus} cores",
        known.python and f"Python {known.python}",
        known.numpy and f"numpy {known.numpy}",
        known.blas,
    ]
    return ", ".join(part for part in parts if part)


def _table(figures: tuple[Figure, ...]) -> Iterator[str]:
    targets = any(figure.target for figure in figures)
    cells = ["", "figure", "range", *(["target"] if targets else [])]
    yield _line(cells)
    yield _line(["---"] * len(cells))
    for figure in figures:
        target = [figure.target] if targets else []
        yield _line([figure.name, quantity(figure), _range(figure), *target])


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def quantity(figure: Figure) -> str:
    """The value with its standard error and its unit."""
    error = "" if figure.standard_error is None else f" ± {number(figure.standard_error)}"
    return f"{number(figure.value)}{error} {figure.unit}".strip()


def _range(figure: Figure) -> str:
    if figure.low is None or figure.high is None:
        return ""
    return f"{number(figure.low)} … {number(figure.high)}"


def show(figures: Iterable[Figure]) -> None:
    """Print each figure with its range."""
    for figure in figures:
        bounds = _range(figure)
        print(f"{figure.name}: {quantity(figure)}{bounds and f' ({bounds})'}", flush=True)


def number(value: float) -> str:
    """`value` with four digits, and above 1000 without decimals."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{round(value, 3):.4g}"


def readme(text: str, found: Mapping[str, BenchmarkResult]) -> str:
    """The text of README.md with the table made anew between its two comments."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    lines = [_line(["", "figure", "processor"]), _line(["---"] * 3)]
    for label, file, name in ROWS:
        (figure,) = (figure for figure in found[file].figures if figure.name == name)
        known = found[file].provenance
        host = f"{known.processor}, {known.cpus} cores" if known.processor else ""
        lines.append(_line([label, quantity(figure), host]))
    return "".join([before, START, *(f"{line}\n" for line in lines), END, after])


def main() -> None:
    """Write both files."""
    found = results()
    PAGE.write_text(page(found), "utf-8")
    README.write_text(readme(README.read_text("utf-8"), found), "utf-8")


if __name__ == "__main__":
    main()
