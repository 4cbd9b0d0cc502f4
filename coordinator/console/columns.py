"""Tables and sentences that fit a terminal. A number is never cut or separated from its unit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from coordinator.console.standard_streams import transliterate
from protocol.printable import printable

GAP: Final = "  "
HINT: Final = "use a wider terminal or --json"


def line(text: str, style: str = "") -> Text:
    """A line of text that rich neither breaks nor cuts."""
    return Text(text, style, no_wrap=True, overflow="ignore")


@dataclass(frozen=True, slots=True)
class Phrases:
    """A sentence that is broken only between phrases, which `separator` joins.

    Every line begins with `indent`; those after the first begin with `indent` and `hang`.
    """

    phrases: Sequence[str]
    separator: str = ", "
    indent: str = ""
    hang: str = ""

    def for_encoding(self, encoding: str) -> Phrases:
        """The same sentence in printable characters that `encoding` has."""
        phrases = [_printable(phrase, encoding) for phrase in self.phrases]
        return replace(self, phrases=phrases)

    def lines(self, width: int) -> list[str]:
        """Break the sentence into lines of `width` columns; a wider phrase gets its own line."""
        comma = self.separator.rstrip()
        space = self.separator[len(comma) :]
        lines = [self.indent]
        for number, phrase in enumerate(self.phrases):
            text = phrase + (comma if number + 1 < len(self.phrases) else "")
            longer = lines[-1] + (space if number else "") + text
            if number and cell_len(longer) > width:
                lines.append(self.indent + self.hang + text)
            else:
                lines[-1] = longer
        return [line.rstrip() for line in lines]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for text in self.for_encoding(console.encoding).lines(options.max_width):
            yield line(text)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    If a table is too wide, the column with the highest `rank` is left out first, the rightmost of
    several; the first column always stays. Sentences are not broken below `min_width` columns.
    """

    heading: str
    rank: int = 0
    left: bool = False
    min_width: int = 1


Cell: TypeAlias = str | Phrases


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings, in as many of the `columns` as fit; an empty row draws a line.

    The `notes` follow, then a line that names the columns left out, with the `hint` how to see
    them. An empty `hint` omits that line.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[Phrases] = ()
    hint: str = HINT

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, encoding = options.max_width, console.encoding
        rows = [[_cell(cell, encoding) for cell in row] for row in self.rows]
        headings = [_printable(column.heading, encoding) for column in self.columns]
        sizes = self._column_sizes(headings, rows, width)
        rule = line(transliterate("─", encoding) * _total(list(sizes.values())), "dim")
        yield from self._row(headings, sizes, "bold")
        yield rule
        for row in rows:
            yield from self._row(row, sizes) if row else [rule]
        yield from self.notes
        hidden = [heading for index, heading in enumerate(headings) if index not in sizes]
        if hidden and self.hint:
            named = [*(f"{heading}," for heading in hidden[:-1]), f"{hidden[-1]};"]
            yield Phrases([f"not shown at {width} columns:", *named, self.hint], " ")

    def _column_sizes(
        self, headings: Sequence[str], rows: Sequence[Sequence[Cell]], width: int
    ) -> dict[int, int]:
        """The width of each column that is shown, by the index of the column."""
        columns = [
            [heading, *(row[index] for row in rows if row)]
            for index, heading in enumerate(headings)
        ]
        least = [_widest(cells, self.columns[i].min_width) for i, cells in enumerate(columns)]
        shown = self._fitting(least, width)
        return dict(_share_spare(columns, least, shown, width - _total([least[p] for p in shown])))

    def _fitting(self, least: Sequence[int], width: int) -> list[int]:
        """The indices of the columns that are shown."""
        shown = list(range(len(self.columns)))
        while len(shown) > 1 and _total([least[index] for index in shown]) > width:
            shown.remove(max(shown[1:], key=lambda index: (self.columns[index].rank, index)))
        return shown

    def _row(
        self, cells: Sequence[Cell], sizes: Mapping[int, int], style: str = ""
    ) -> Iterator[Text]:
        parts = {index: _lines(cells[index], width) for index, width in sizes.items()}
        for number in range(max(map(len, parts.values()))):
            texts = [
                _padded(
                    part[number] if number < len(part) else "",
                    sizes[index],
                    self.columns[index].left,
                )
                for index, part in parts.items()
            ]
            yield line(GAP.join(texts).rstrip(), style)


def _share_spare(
    columns: Sequence[Sequence[Cell]], least: Sequence[int], shown: Sequence[int], spare: int
) -> Iterator[tuple[int, int]]:
    """The width of each column in `shown`; columns with sentences share the `spare` columns."""
    for index in shown:
        more = max(0, min(spare, _widest(columns[index], least[index] + spare) - least[index]))
        spare -= more
        yield index, least[index] + more


def _total(sizes: Sequence[int]) -> int:
    return sum(sizes) + len(GAP) * (len(sizes) - 1)


def _widest(cells: Iterable[Cell], width: int) -> int:
    """The width of the widest cell, with sentences broken at `width`."""
    return max(cell_len(text) for cell in cells for text in _lines(cell, width))


def _lines(cell: Cell, width: int) -> list[str]:
    return cell.lines(width) if isinstance(cell, Phrases) else [cell]


def _padded(text: str, width: int, left: bool) -> str:
    blank = " " * (width - cell_len(text))
    return text + blank if left else blank + text


def _cell(cell: Cell, encoding: str) -> Cell:
    return cell.for_encoding(encoding) if isinstance(cell, Phrases) else _printable(cell, encoding)


def _printable(text: str, encoding: str) -> str:
    return transliterate(printable(text), encoding)
