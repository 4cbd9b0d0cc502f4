"""Which engine a name stands for: one of ours, an installed one, or a launcher of agents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from coordinator.cluster.engine import ClusterEngine
from coordinator.cluster.gather import LaunchedHosts
from coordinator.cluster.listen import ListenConfig, ListenForAgents, ListenLocal
from coordinator.engines.inline import InlineEngine, MakeWorker
from coordinator.engines.options import NoOptions, parse
from coordinator.lifecycle.engine import Engine

ENGINES: Final = ("local", "inline")
"""The engines that need no launcher."""


def select_engine(
    name: str, options: Mapping[str, object], report: Callable[[str], None], make_worker: MakeWorker
) -> Engine:
    """The engine `name` with `options`; `make_worker` is for the inline engine.

    Raises UserError for an unknown name or option, and for a wrong value.
    """
    if name in ENGINES:
        parse(NoOptions, options, f"engine {name}")
        return InlineEngine(make_worker) if name == "inline" else ClusterEngine(ListenLocal())
    # A local run needs no search for installed packages.
    from coordinator.cluster.launchers.installed import choose
    from coordinator.engines.installed import GROUP, installed, installed_engine

    if engine := installed_engine(name, options):
        return engine
    chosen = choose(name, options, [*ENGINES, *installed(GROUP)])
    launcher = chosen.launcher
    listen = ListenConfig(chosen.bind).checked() if chosen.bind else None
    policy = partial(LaunchedHosts, launcher, chosen.start_timeout, report)
    return ClusterEngine(listen or ListenForAgents(launcher.local_address), launcher, policy)
