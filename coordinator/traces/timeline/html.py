"""The timeline as an interactive HTML page: one file that loads nothing from the network.

The page is the same for every run. The data of the run are JSON in which characters that could end
the enclosing element are escaped; the page shows them as text only.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from coordinator.traces.timeline.layout import Arrow, Box, Timeline
from coordinator.traces.timeline.style import ACTION_STYLES, KIND_STYLES, actions, heading, kinds
from protocol.builtin import to_json

MAX_SHAPES: Final = 100_000
"""The number of boxes and arrows up to which the page is fast."""
_DATA: Final = "@DATA@"
_SCRIPT: Final = "@SCRIPT@"
_FILES: Final = ("viewer.html", "viewer.js", "viewer_controls.js")


def draw_html(timeline: Timeline) -> str:
    """The page. Raises RunError if `timeline` has too many boxes and arrows."""
    timeline.require_at_most(MAX_SHAPES)
    here = files("coordinator.traces.timeline")
    page, *scripts = ((here / name).read_text("utf-8").rstrip("\n") for name in _FILES)
    return page.replace(_SCRIPT, "\n\n".join(scripts)).replace(_DATA, _json(timeline)) + "\n"


def _json(timeline: Timeline) -> str:
    """The data of the page; `<` is escaped, so that no text is ever a tag."""
    found = {
        "title": heading(timeline),
        "start": timeline.window.start,
        "length": timeline.window.length,
        "lanes": [lane._asdict() for lane in timeline.lanes],
        "actionStyles": {name: ACTION_STYLES[name]._asdict() for name in actions(timeline)},
        "kindStyles": {name: KIND_STYLES[name]._asdict() for name in kinds(timeline)},
        "boxFields": Box._fields,
        "boxes": timeline.boxes,
        "arrowFields": Arrow._fields,
        "arrows": timeline.arrows,
    }
    packed = to_json(found, separators=(",", ":"))
    return packed.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
