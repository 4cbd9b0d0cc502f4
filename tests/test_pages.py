"""What the pages of the documentation must not say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

PROJECT: Final = Path(__file__).parents[1]
PAGES: Final = ("README.md", *(f"docs/{path.name}" for path in (PROJECT / "docs").glob("*.md")))


@pytest.mark.parametrize("page", sorted(PAGES))
def test_no_page_installs_the_package_dni_of_another_project(page: str) -> None:
    text = (PROJECT / page).read_text("utf-8")
    assert not re.search(r"pip install\s+['\"]?dni\b", text)
