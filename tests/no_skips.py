"""`pytest --no-skips`: a test that skips fails, unless the list `ALLOWED` has its reason.

`make test-services` uses it: there, a service that cannot be used is an error.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

import pytest

ALLOWED: Final = {
    "DNI_DATA is not set": "the data sets are not part of the project",
    "needs a GPU": "the machines that run the tests of every change have none",
}
"""The beginning of the reason with which a test may skip, and why it may."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--no-skips", action="store_true", help="A test that skips fails.")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a test that skips fail."""
    report = yield
    if item.config.getoption("no_skips"):
        fail_skipped(report)
    return report


def fail_skipped(report: pytest.TestReport) -> None:
    """Make a report of a skipped test one of a failed test, unless its reason is allowed."""
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    if not reason.startswith(tuple(ALLOWED)):
        report.outcome = "failed"
        report.longrepr = f"skipped under --no-skips: {reason}"
