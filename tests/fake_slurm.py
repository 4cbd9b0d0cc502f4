"""Programs in the place of Slurm's, with set answers; they record how they are called."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

_PROGRAM: Final = """\
#!{python}
import json, sys
from pathlib import Path
folder = Path({folder!r})
name = {name!r}
with (folder / "calls").open("a") as calls:
    calls.write(json.dumps([name, *sys.argv[1:]]) + "\\n")
if name == "sbatch":
    sys.stdin.read()
answer = json.loads((folder / "answers").read_text())[name]
if name == "scancel" and answer["status"] == 0:
    (folder / "cancelled").touch()
if name == "scontrol" and "config" in sys.argv:
    answer = {{"status": 0, "text": "SlurmctldHost[0] = here(127.0.0.1)\\n", "error": ""}}
elif name == "scontrol" and (folder / "cancelled").exists():
    answer = {{"status": 0, "text": "JobId=1 JobState=CANCELLED Reason=None", "error": ""}}
elif name == "scontrol" and sys.argv[-1] not in answer.get("jobs", [sys.argv[-1]]):
    answer = {{"status": 1, "text": "", "error": "Invalid job id specified\\n"}}
calls = map(json.loads, (folder / "calls").read_text().splitlines())
comments = [argument for call in calls for argument in call if argument.startswith("--comment=")]
answer["text"] = answer["text"].replace("COMMENT", (comments or ["="])[-1].partition("=")[2])
sys.stdout.write(answer["text"])
sys.stderr.write(answer["error"])
sys.exit(answer["status"])
"""
PENDING: Final = "JobId=1 JobName=dni JobState=PENDING Reason=Priority Comment=COMMENT"


class FakeSlurm:
    """sbatch, scontrol, squeue and scancel in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._answers: dict[str, dict[str, Any]] = {}
        for name in ("sbatch", "scontrol", "squeue", "scancel"):
            program = folder / name
            text = _PROGRAM.format(python=sys.executable, folder=str(folder), name=name)
            program.write_text(text, "utf-8")
            program.chmod(0o755)
            self.set_answer(name, "")
        self.set_answer("scontrol", PENDING)

    def set_answer(
        self, name: str, text: str, status: int = 0, error: str = "", **more: list[str]
    ) -> None:
        """Let the program `name` print `text` and `error`, and end with `status`.

        scontrol has only the `jobs`, where they are given. COMMENT in the text becomes the last
        comment that sbatch was called with.
        """
        self._answers[name] = {"text": text, "status": status, "error": error, **more}
        (self.folder / "answers").write_text(json.dumps(self._answers), "utf-8")

    def calls(self, name: str) -> list[list[str]]:
        """The arguments of each call of the program `name`."""
        try:
            lines = (self.folder / "calls").read_text("utf-8").splitlines()
        except FileNotFoundError:
            return []
        return [call[1:] for call in map(json.loads, lines) if call[0] == name]
