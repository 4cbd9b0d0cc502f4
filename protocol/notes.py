"""What a user may not mean, though it is no mistake: shown as `note: …` when a pipeline is used."""

from __future__ import annotations

from typing import Final

from protocol.pipeline import Pipeline

_AFTER: Final = {
    "eval_every": "the test set is evaluated at the end alone",
    "checkpoint_every": "weights are saved at the end alone",
}


def notes(pipeline: Pipeline) -> tuple[str, ...]:
    """The notes on `pipeline`, each a line that names the key."""
    train = pipeline.train
    late = [str(drop) for drop in sorted(train.lr_drops) if drop > train.steps]
    found = []
    if late:
        found.append(
            f"train.lr_drops: {', '.join(late)} {_beyond(train.steps, len(late))}; "
            "the learning rate does not drop there"
        )
    for key, effect in _AFTER.items():
        every = getattr(train, key)
        if every > train.steps:
            found.append(f"train.{key}: {every} {_beyond(train.steps)}; {effect}")
    return tuple(found)


def _beyond(steps: int, count: int = 1) -> str:
    return f"{'is' if count == 1 else 'are'} more than train.steps ({steps})"
