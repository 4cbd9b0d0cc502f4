"""The word for machinery that is given a file: manifest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from coordinator.commands import options

if TYPE_CHECKING:
    from protocol import Pipeline


def manifest_group(read: Callable[[Path | None, tuple[str, ...]], Pipeline]) -> click.Group:
    """`dni manifest`; `read` makes a pipeline of a file and overrides."""

    @click.group("manifest")
    def manifest() -> None:
        """Print what others need to run a pipeline."""

    @manifest.command("k8s")
    @options.pipeline_argument
    @options.overrides
    @click.option("--image", required=True, help="A container image with dni in it.")
    @click.option(
        "--head",
        default="tcp://dni-head:7070",
        show_default=True,
        metavar="tcp://NAME:PORT",
        help="The Service at which agents find the head.",
    )
    def k8s(pipeline: Path | None, overrides: tuple[str, ...], image: str, head: str) -> None:
        """Print a Kubernetes manifest for the PIPELINE file: a head, and a pod a worker."""
        import tomli_w

        from coordinator.cluster.launchers.kubernetes import manifest as written

        made = read(pipeline, overrides)
        text = tomli_w.dumps(made.as_dict())
        click.echo(written(text, len(made.workers) - 1, image, head), nl=False)

    return manifest
