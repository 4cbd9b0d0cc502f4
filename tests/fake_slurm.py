"""Programs that stand in for Slurm's, and note what they are asked."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

_PROGRAM: Final = """\
#!{python}
import json, sys
from pathlib import Path
home = Path({home!r})
name = {name!r}
with (home / "asked").open("a") as asked:
    asked.write(json.dumps([name, *sys.argv[1:]]) + "\\n")
if name == "sbatch":
    sys.stdin.read()
answer = json.loads((home / "answers").read_text())[name]
if name == "scancel" and answer["status"] == 0:
    (home / "cancelled").touch()
if name == "scontrol" and "config" in sys.argv:
    answer = {{"status": 0, "text": "SlurmctldHost[0] = here(127.0.0.1)\\n", "error": ""}}
elif name == "scontrol" and (home / "cancelled").exists():
    answer = {{"status": 0, "text": "JobId=1 JobState=CANCELLED Reason=None", "error": ""}}
elif name == "scontrol" and sys.argv[-1] not in answer.get("jobs", [sys.argv[-1]]):
    answer = {{"status": 1, "text": "", "error": "Invalid job id specified\\n"}}
asked = map(json.loads, (home / "asked").read_text().splitlines())
marks = [word for words in asked for word in words if word.startswith("--comment=")]
answer["text"] = answer["text"].replace("MARK", (marks or ["="])[-1].partition("=")[2])
sys.stdout.write(answer["text"])
sys.stderr.write(answer["error"])
sys.exit(answer["status"])
"""
PENDING: Final = "JobId=1 JobName=dni JobState=PENDING Reason=Priority Comment=MARK"


class FakeSlurm:
    """sbatch, scontrol, squeue and scancel in a folder; each answers what it was told to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._answers: dict[str, dict[str, Any]] = {}
        for name in ("sbatch", "scontrol", "squeue", "scancel"):
            program = folder / name
            text = _PROGRAM.format(python=sys.executable, home=str(folder), name=name)
            program.write_text(text, "utf-8")
            program.chmod(0o755)
            self.answers(name, "")
        self.answers("scontrol", PENDING)

    def answers(
        self, name: str, text: str, status: int = 0, error: str = "", **more: list[str]
    ) -> None:
        """Let the program `name` print `text` and end with `status`; scontrol knows `jobs` alone.

        MARK in the text becomes the comment that sbatch was given.
        """
        self._answers[name] = {"text": text, "status": status, "error": error, **more}
        (self.folder / "answers").write_text(json.dumps(self._answers), "utf-8")

    def asked(self, name: str) -> list[list[str]]:
        """The arguments of each call of the program `name`."""
        try:
            lines = (self.folder / "asked").read_text("utf-8").splitlines()
        except FileNotFoundError:
            return []
        return [words[1:] for words in map(json.loads, lines) if words[0] == name]
