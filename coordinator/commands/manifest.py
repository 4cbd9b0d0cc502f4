"""`dni manifest`: files with which other systems run a pipeline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from coordinator.commands import options

if TYPE_CHECKING:
    from protocol import Pipeline


def manifest_group(read: Callable[[Path | None, tuple[str, ...]], Pipeline]) -> click.Group:
    """The command `dni manifest`; `read` reads a pipeline file and applies overrides."""

    @click.group("manifest")
    def manifest() -> None:
        """Print a file with which another system runs a pipeline."""

    @manifest.command("k8s")
    @options.pipeline_argument
    @options.overrides
    @click.option("--image", required=True, help="Container image that has dni.")
    @click.option(
        "--head",
        default="tcp://dni-head:7070",
        show_default=True,
        metavar="tcp://NAME:PORT",
        help="Name and port of the Service of the head.",
    )
    def k8s(pipeline: Path | None, overrides: tuple[str, ...], image: str, head: str) -> None:
        """Print a Kubernetes manifest for the PIPELINE file: a head, and one pod per worker."""
        import tomli_w

        from coordinator.cluster.launchers.kubernetes import kubernetes_manifest

        made = read(pipeline, overrides)
        text = tomli_w.dumps(made.as_dict())
        click.echo(kubernetes_manifest(text, len(made.workers) - 1, image, head), nl=False)

    return manifest
