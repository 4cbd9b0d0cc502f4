"""Which runs a comparison consists of."""

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
"""Evaluations a run where its pipeline asks for none: a curve wants some."""
LARGEST_SEEDS: Final = 1000


@dataclass(frozen=True, slots=True)
class Cell:
    """One run: a network, a rule and a seed, on an engine.

    `paper` is what the paper's table says of it, in percent.
    """

    pipeline: Pipeline
    paper: float | None = None
    engine: str = "local"

    @property
    def folder(self) -> str:
        """The name of its run folder: the same for the same run, and no other's."""
        plan: dict[str, Any] = self.pipeline.as_dict()
        del plan["data"]["host"]  # which is here; runs of before there was the key keep their names
        text = json.dumps([self.engine, plan], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        seed = self.pipeline.train.seed
        return utf8_file_name(f"{self.pipeline.name}-{self.pipeline.rule}-seed{seed}-{digest}")


def cells(
    pipeline: Pipeline, rules: Sequence[str], seeds: int, paper: Mapping[str, float]
) -> Iterator[Cell]:
    """Every rule with every seed, from that of `pipeline` on. Raises SpecError.

    `paper` holds the errors in the paper's table, by rule, for the rules that stand there.
    """
    if not 1 <= seeds <= LARGEST_SEEDS:
        raise SpecError(f"--seeds: {seeds} is not in 1 … {LARGEST_SEEDS}")
    for rule in rules:
        if rule not in RULES:
            raise SpecError(f"--rules: unknown rule {rule!r}{did_you_mean(rule, RULES)}")
    train = pipeline.train
    every = train.eval_every or max(1, train.steps // CURVE_POINTS)
    for seed in range(train.seed, train.seed + seeds):
        for rule in dict.fromkeys(rules):
            settings = replace(train, seed=seed, eval_every=every)
            yield Cell(replace(pipeline, rule=rule, train=settings), paper.get(rule))
