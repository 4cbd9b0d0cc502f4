"""Helpers for tests of run folders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from coordinator.run_folder.layout import METRICS, PIPELINE, SUMMARY, WEIGHTS

if TYPE_CHECKING:
    pass


def make_run(folder: Path, content: str = "old") -> Path:
    """A folder as a run leaves it, with `content` in its files."""
    (folder / WEIGHTS).mkdir(parents=True)
    for file in (
        folder / PIPELINE,
        folder / METRICS,
        folder / SUMMARY,
        folder / WEIGHTS / "layer0",
    ):
        file.write_text(content, "utf-8")
    return folder


def snapshot(folder: Path) -> dict[str, str]:
    """All paths below `folder`, with the content of files and the targets of links."""
    return {str(path.relative_to(folder)): _content(path) for path in folder.rglob("*")}


def _content(path: Path) -> str:
    if path.is_symlink():
        return str(path.readlink())
    return "a folder" if path.is_dir() else path.read_text("utf-8")


KILLED_START = """
import os, sys
from pathlib import Path
from coordinator.run_folder.create import RunFolder
calls, rename = 0, Path.rename
def rename_or_die(self, target):
    global calls
    calls += 1
    if calls > int(sys.argv[1]):
        os._exit(9)
    return rename(self, target)
Path.rename = rename_or_die
folder = RunFolder("name", "run", force=True)
folder.create()
(folder.path / "metrics.jsonl").write_text("new")
folder.rollback()
"""
