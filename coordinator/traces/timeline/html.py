"""The timeline as a page to walk about in: one file that asks nothing of any network.

The page is written here once and for all; of a run it gets only data, as JSON that cannot end the
element it stands in, and shows it as text alone.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from coordinator.traces.timeline.layout import Arrow, Box, Timeline
from coordinator.traces.timeline.style import ARROWS, LOOKS, actions, heading, kinds
from protocol.builtin import json_text

MOST: Final = 100_000
"""Boxes and arrows with which the page is still quick."""
_DATA: Final = "@DATA@"
_SCRIPT: Final = "@SCRIPT@"


def html(timeline: Timeline) -> str:
    """The page. Raises RunError where there is too much to be drawn."""
    timeline.no_more_than(MOST)
    here = files("coordinator.traces.timeline")
    page, script = (
        (here / name).read_text("utf-8").rstrip("\n") for name in ("viewer.html", "viewer.js")
    )
    return page.replace(_SCRIPT, script).replace(_DATA, _json(timeline)) + "\n"


def _json(timeline: Timeline) -> str:
    """All that the page needs to know; `<` is escaped, so no text in it is ever a tag."""
    found = {
        "title": heading(timeline),
        "start": timeline.window.start,
        "length": timeline.window.length,
        "lanes": [lane._asdict() for lane in timeline.lanes],
        "looks": {name: LOOKS[name]._asdict() for name in actions(timeline)},
        "arrowLooks": {name: ARROWS[name]._asdict() for name in kinds(timeline)},
        "boxFields": Box._fields,
        "boxes": timeline.boxes,
        "arrowFields": Arrow._fields,
        "arrows": timeline.arrows,
    }
    packed = json_text(found, separators=(",", ":"))
    return packed.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
