"""The runs of a comparison."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from coordinator.run_folder.layout import utf8_file_name
from protocol import Pipeline, SpecError, did_you_mean
from protocol.pipeline import RULES

CURVE_POINTS: Final = 20
"""The number of evaluations per run if the pipeline has none: a curve needs some."""
MAX_SEEDS: Final = 1000


@dataclass(frozen=True, slots=True)
class Cell:
    """One run: a network, a rule and a seed, on an engine.

    `paper` is the test error in the paper's table, percent. The layers share `workers` worker
    processes; None for one per layer, or those of the pipeline's placement.
    """

    pipeline: Pipeline
    paper: float | None = None
    engine: str = "local"
    workers: int | None = None

    @property
    def label(self) -> str:
        """The network, the rule and the seed."""
        return f"{self.pipeline.name} {self.pipeline.rule} seed {self.pipeline.train.seed}"

    @property
    def folder(self) -> str:
        """The name of the run folder; two runs have the same name only if they are equal."""
        plan: dict[str, Any] = self.pipeline.as_dict()
        del plan["data"]["host"]  # names the host on which the comparison runs
        run = [self.engine, plan, *([] if self.workers is None else [self.workers])]
        text = json.dumps(run, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        seed = self.pipeline.train.seed
        return utf8_file_name(f"{self.pipeline.name}-{self.pipeline.rule}-seed{seed}-{digest}")


def make_cells(
    pipeline: Pipeline, rules: Sequence[str], seeds: int, paper: Mapping[str, float]
) -> Iterator[Cell]:
    """Every rule with every seed, starting with the seed of `pipeline`. Raises SpecError.

    `paper` maps rules to the errors in the paper's table.
    """
    if not 1 <= seeds <= MAX_SEEDS:
        raise SpecError(f"--seeds: {seeds} is not in 1 … {MAX_SEEDS}")
    for rule in rules:
        if rule not in RULES:
            raise SpecError(f"--rules: unknown rule {rule!r}{did_you_mean(rule, RULES)}")
    train = pipeline.train
    every = train.eval_every or max(1, train.steps // CURVE_POINTS)
    for seed in range(train.seed, train.seed + seeds):
        for rule in dict.fromkeys(rules):
            settings = replace(train, seed=seed, eval_every=every)
            yield Cell(replace(pipeline, rule=rule, train=settings), paper.get(rule))
