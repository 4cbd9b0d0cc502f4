"""Under --no-skips a test that skips fails, unless its reason is on the list."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

PROJECT: Final = Path(__file__).parents[1]
SKIPS: Final = """\
import pytest

@pytest.mark.skipif(True, reason={reason!r})
def test_marked(): ...

def test_called(): pytest.skip({reason!r})

@pytest.fixture
def missing(): pytest.importorskip("no_such_module", reason={reason!r})

def test_of_a_fixture(missing): ...

@pytest.mark.xfail
def test_expected_to_fail(): assert False
"""


@pytest.mark.parametrize(
    ("reason", "options", "status", "closing"),
    [
        ("no service", (), 0, "3 skipped, 1 xfailed"),
        ("no service", ("--no-skips",), 1, "1 failed, 1 xfailed, 2 errors"),
        ("needs a GPU: no device", ("--no-skips",), 0, "3 skipped, 1 xfailed"),
    ],
)
def test_a_skip_fails_unless_its_reason_is_allowed(
    tmp_path: Path, reason: str, options: tuple[str, ...], status: int, closing: str
) -> None:
    (tmp_path / "test_skips.py").write_text(SKIPS.format(reason=reason), "utf-8")
    command = [sys.executable, "-m", "pytest", "-c", "/dev/null", "-p", "tests.no_skips"]
    ran = subprocess.run(
        [*command, "-p", "no:cacheprovider", "--rootdir", str(tmp_path), *options, str(tmp_path)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == status, ran.stdout + ran.stderr
    assert closing in ran.stdout.splitlines()[-1]
    assert ("skipped under --no-skips: no service" in ran.stdout) == bool(status)
