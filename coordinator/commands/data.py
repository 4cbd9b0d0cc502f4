"""Commands about data sets."""

from __future__ import annotations

import os

import click

from coordinator.commands import options
from coordinator.commands.functions import Functions


def data_group(functions: Functions) -> click.Group:
    """`dni data`."""

    @click.group("data")
    def data() -> None:
        """Data sets that have a name: list them, download them."""

    @data.command("list")
    @options.as_json
    def list_command(as_json: bool) -> None:
        """Show the data sets that have a name: source, checksums, and where they are."""
        from dataclasses import asdict

        from coordinator.commands.tables import data_list
        from coordinator.console.json_output import print_json
        from coordinator.console.terminal import Terminal

        entries = [asdict(entry) for entry in functions.list_datasets()]
        if as_json:
            print_json(entries)
        else:
            Terminal().show(data_list(entries))

    @data.command("get")
    @click.argument("name")
    def get_command(name: str) -> None:
        """Download the data set NAME if it is not here, verify it, and print where it is."""
        from coordinator.commands.tables import DownloadBar
        from coordinator.console.terminal import Terminal

        path = functions.get_data(name, DownloadBar(Terminal(stderr=True), name))
        console = Terminal()
        if path is None or console.interactive:
            console.print_text(str(path or f"{name} is generated; there is nothing to download"))
        else:
            click.echo(os.fsencode(path))  # a script needs the exact bytes of the path

    return data
