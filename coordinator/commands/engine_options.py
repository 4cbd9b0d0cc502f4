"""What a user asks of an engine, as options of the command."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

import click

_OPTIONS: Final = {
    "bind": "tcp://ADDRESS:PORT to listen at.  [default: where agents find this machine]",
    "start_timeout": "Seconds that agents have to join.  [default: 120; slurm: no limit]",
    "hosts": "ssh: the machines, such as a,b,c.",
    "remote_command": "ssh, slurm: what starts dni there.  [default: dni; slurm: as here]",
    "ssh_args": "ssh: further words for ssh.",
    "address": "ray: the cluster.  [default: auto]",
    "sbatch_args": "slurm: further words for sbatch, or for srun inside an allocation.",
}


def engine_wishes(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` the options of all engines; it gets those given as a mapping, `wish`."""

    @wraps(command)
    def wished(*arguments: Any, engine_options: tuple[str, ...], **given: Any) -> None:
        wish = {key: value for key in _OPTIONS if (value := given.pop(key)) is not None}
        command(*arguments, wish=wish | _pairs(engine_options), **given)

    wished = click.option(
        "-E", "engine_options", multiple=True, metavar="KEY=VALUE", help="An option of the engine."
    )(wished)
    for key, text in reversed(_OPTIONS.items()):
        wished = click.option(f"--{key.replace('_', '-')}", key, help=text)(wished)
    return wished


def _pairs(words: tuple[str, ...]) -> dict[str, str]:
    from protocol import RunError

    pairs = [word.partition("=") for word in words]
    for key, equals, _ in pairs:
        if not (key and equals):
            raise RunError(f"-E: {key!r} is not KEY=VALUE")
    return {key.replace("-", "_"): value for key, _, value in pairs}
