"""Tables and sentences that fit a terminal. No number is ever cut, or parted from its unit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from coordinator.console.standard_streams import spelled
from protocol.printable import printable

GAP: Final = "  "
WIDER: Final = "use a wider terminal or --json"


def line(text: str, style: str = "") -> Text:
    """One line that is never broken or cut here."""
    return Text(text, style, no_wrap=True, overflow="ignore")


@dataclass(frozen=True, slots=True)
class Phrases:
    """A sentence that is broken between phrases alone; `between` two of them stands this.

    Every line begins with `indent`, those after the first with `hang` too.
    """

    phrases: Sequence[str]
    between: str = ", "
    indent: str = ""
    hang: str = ""

    def shown(self, encoding: str) -> Phrases:
        """The same, safe to print and spelled for `encoding`."""
        phrases = [_shown(phrase, encoding) for phrase in self.phrases]
        return replace(self, phrases=phrases)

    def lines(self, width: int) -> list[str]:
        """The sentence in lines of `width` columns; a phrase that is wider has its own line."""
        comma = self.between.rstrip()
        space = self.between[len(comma) :]
        lines = [self.indent]
        for number, phrase in enumerate(self.phrases):
            word = phrase + (comma if number + 1 < len(self.phrases) else "")
            longer = lines[-1] + (space if number else "") + word
            if number and cell_len(longer) > width:
                lines.append(self.indent + self.hang + word)
            else:
                lines[-1] = longer
        return [line.rstrip() for line in lines]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for text in self.shown(console.encoding).lines(options.max_width):
            yield line(text)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. Where there is no room, the one with the highest `rank` goes first, of
    several the one to the right; the first column of a table stays. Sentences in it are not broken
    to be narrower than `least`."""

    heading: str
    rank: int = 0
    left: bool = False
    least: int = 1


Cell: TypeAlias = str | Phrases


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings, in as many of the `columns` as fit; an empty row is a rule.

    Then come the `notes`, and a line that names the columns left out and says how to see them:
    `wider`; there is none where that is empty.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[Phrases] = ()
    wider: str = WIDER

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, encoding = options.max_width, console.encoding
        rows = [[_cell(cell, encoding) for cell in row] for row in self.rows]
        headings = [_shown(column.heading, encoding) for column in self.columns]
        widths = self._widths(headings, rows, width)
        rule = line(spelled("─", encoding) * _total(list(widths.values())), "dim")
        yield from self._row(headings, widths, "bold")
        yield rule
        for row in rows:
            yield from self._row(row, widths) if row else [rule]
        yield from self.notes
        hidden = [heading for place, heading in enumerate(headings) if place not in widths]
        if hidden and self.wider:
            named = [*(f"{heading}," for heading in hidden[:-1]), f"{hidden[-1]};"]
            yield Phrases([f"not shown at {width} columns:", *named, self.wider], " ")

    def _widths(
        self, headings: Sequence[str], rows: Sequence[Sequence[Cell]], width: int
    ) -> dict[int, int]:
        """The columns that are shown, by their places, and how wide each is."""
        columns = [
            [heading, *(row[place] for row in rows if row)]
            for place, heading in enumerate(headings)
        ]
        least = [_widest(cells, self.columns[at].least) for at, cells in enumerate(columns)]
        shown = self._fitting(least, width)
        return dict(_widened(columns, least, shown, width - _total([least[p] for p in shown])))

    def _fitting(self, least: Sequence[int], width: int) -> list[int]:
        """The places of the columns that are shown."""
        shown = list(range(len(self.columns)))
        while len(shown) > 1 and _total([least[place] for place in shown]) > width:
            shown.remove(max(shown[1:], key=lambda place: (self.columns[place].rank, place)))
        return shown

    def _row(
        self, cells: Sequence[Cell], widths: Mapping[int, int], style: str = ""
    ) -> Iterator[Text]:
        parts = {place: _lines(cells[place], width) for place, width in widths.items()}
        for number in range(max(map(len, parts.values()))):
            texts = [
                _padded(
                    part[number] if number < len(part) else "",
                    widths[place],
                    self.columns[place].left,
                )
                for place, part in parts.items()
            ]
            yield line(GAP.join(texts).rstrip(), style)


def _widened(
    columns: Sequence[Sequence[Cell]], least: Sequence[int], shown: Sequence[int], spare: int
) -> Iterator[tuple[int, int]]:
    """The columns at the places `shown`, and how wide each is; sentences get the `spare` room."""
    for place in shown:
        more = max(0, min(spare, _widest(columns[place], least[place] + spare) - least[place]))
        spare -= more
        yield place, least[place] + more


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _widest(cells: Iterable[Cell], width: int) -> int:
    """Of the widest cell, where sentences have `width`."""
    return max(cell_len(text) for cell in cells for text in _lines(cell, width))


def _lines(cell: Cell, width: int) -> list[str]:
    return cell.lines(width) if isinstance(cell, Phrases) else [cell]


def _padded(text: str, width: int, left: bool) -> str:
    blank = " " * (width - cell_len(text))
    return text + blank if left else blank + text


def _cell(cell: Cell, encoding: str) -> Cell:
    return cell.shown(encoding) if isinstance(cell, Phrases) else _shown(cell, encoding)


def _shown(text: str, encoding: str) -> str:
    return spelled(printable(text), encoding)
