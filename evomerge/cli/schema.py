"""`evomerge schema`: the JSON Schema of a config, for editors."""

from __future__ import annotations

import json

import click

from evomerge.configfile import json_schema


@click.command("schema")
def command() -> None:
    """Print the JSON Schema of a config (draft 2020-12).

    An editor with a YAML language server completes and checks a config that begins with the line
    `# yaml-language-server: $schema=PATH`, where PATH holds what this command printed.
    """
    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
