"""What the commands call: functions that the composition root puts together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

    from coordinator.lifecycle.train import Result
    from protocol import Pipeline


class Functions(NamedTuple):
    """The functions of `cli`; see there."""

    load_pipeline: Callable[[Path | None, tuple[str, ...]], Pipeline]
    check_engine: Callable[[str, Mapping[str, object]], None]
    run: Callable[..., Result]
    up: Callable[..., Result]
    check: Callable[..., list[Any]]
    evaluate: Callable[..., Any]
    replay: Callable[[Path, int], Any]
    describe: Callable[..., None]
    list_datasets: Callable[[], list[Any]]
    get_data: Callable[..., Path | None]
    work_as_worker: Callable[[], int]
