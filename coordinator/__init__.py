"""The part that starts a pipeline, watches it, records it and ends it."""

from coordinator.display import LiveDisplay, NoDisplay, PlainDisplay, choose, layer_table
from coordinator.engines.inline import run_inline
from coordinator.engines.local import LocalEngine
from coordinator.record import LOGS, Recorder, open_folder, read_run
from coordinator.run import End
from coordinator.shell import Engine, run_processes
from coordinator.tables import (
    DownloadBar,
    data_table,
    exit_status,
    plan_table,
    show_result,
)
from coordinator.threads import cores, threads
from coordinator.train import Result, train
from coordinator.watch import Display, Watch

__all__ = [
    "LOGS",
    "Display",
    "DownloadBar",
    "End",
    "Engine",
    "LiveDisplay",
    "LocalEngine",
    "NoDisplay",
    "PlainDisplay",
    "Recorder",
    "Result",
    "Watch",
    "choose",
    "cores",
    "data_table",
    "exit_status",
    "layer_table",
    "open_folder",
    "plan_table",
    "read_run",
    "run_inline",
    "run_processes",
    "show_result",
    "threads",
    "train",
]
