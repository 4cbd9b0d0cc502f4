"""What the pages of the documentation must not say, and that what they name exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.sources import FOLDERS

PROJECT: Final = Path(__file__).parents[1]
PAGES: Final = sorted(
    path.relative_to(PROJECT).as_posix()
    for folder in (PROJECT, PROJECT / "docs")
    for path in folder.glob("*.md")
)
CURRENT: Final = [page for page in PAGES if page not in ("CHANGELOG.md", "docs/lessons.md")]
"""Pages about the code of today; the others also name files that are gone."""


def without_code(text: str) -> str:
    """`text` without blocks of code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """The anchors of the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", without_code(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: str) -> Iterator[str]:
    """The links of `page` to files or headings that do not exist."""
    text = (PROJECT / page).read_text("utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(text)):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (PROJECT / page).parent / name if name else PROJECT / page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text("utf-8"))):
            yield link


@pytest.mark.parametrize("page", PAGES)
def test_no_page_installs_the_package_dni_of_another_project(page: str) -> None:
    text = (PROJECT / page).read_text("utf-8")
    assert not re.search(r"pip install\s+['\"]?dni\b", text)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file_and_a_heading(page: str) -> None:
    assert not list(broken_links(page))


@pytest.mark.parametrize("page", CURRENT)
def test_every_file_that_a_page_names_exists(page: str) -> None:
    text = without_code((PROJECT / page).read_text("utf-8"))
    named = re.findall(r"`((?:" + "|".join(FOLDERS) + r")/[\w/.-]*)`", text)
    assert not [name for name in named if not (PROJECT / name).exists()]
