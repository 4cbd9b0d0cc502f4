"""Notes on settings that are valid but probably not intended, shown as `note: …`."""

from __future__ import annotations

from typing import Final

from protocol.pipeline import Pipeline

_EFFECTS: Final = {
    "eval_every": "the test set is evaluated only at the end",
    "checkpoint_every": "weights are saved only at the end",
}


def pipeline_notes(pipeline: Pipeline) -> tuple[str, ...]:
    """The notes on `pipeline`, one line each, which begins with the key."""
    train = pipeline.train
    late = [str(drop) for drop in sorted(train.lr_drops) if drop > train.steps]
    found = []
    if late:
        found.append(
            f"train.lr_drops: {', '.join(late)} {_beyond(train.steps, len(late))}; "
            "the learning rate does not drop there"
        )
    for key, effect in _EFFECTS.items():
        every = getattr(train, key)
        if every > train.steps:
            found.append(f"train.{key}: {every} {_beyond(train.steps)}; {effect}")
    return tuple(found)


def _beyond(steps: int, count: int = 1) -> str:
    return f"{'is' if count == 1 else 'are'} more than train.steps ({steps})"
