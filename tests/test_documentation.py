"""Links of the documentation lead to files and headings of the project."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.sources import ROOT

PAGES: Final = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK: Final = re.compile(r"\]\(([^)\s]+)\)")


def relative_links() -> Iterator[tuple[Path, str]]:
    """The pages, each with the targets of its links within the project."""
    for page in PAGES:
        for target in LINK.findall(page.read_text("utf-8")):
            if "://" not in target and not target.startswith("mailto:"):
                yield page.relative_to(ROOT), target


def anchors(page: Path) -> set[str]:
    """The anchors that a page has for its headings."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE):
        text = re.sub(r"[^\w\- ]", "", heading.strip().lower())
        found.add(text.replace(" ", "-"))
    return found


@pytest.mark.parametrize(("page", "target"), sorted(relative_links()), ids=str)
def test_a_link_leads_to_a_file_and_a_heading(page: Path, target: str) -> None:
    name, _, anchor = target.partition("#")
    file = (ROOT / page).parent / name if name else ROOT / page
    assert file.exists()
    if anchor:
        assert anchor in anchors(file)
