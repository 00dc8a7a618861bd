"""`evomerge schema`: the JSON Schema of configs for editors, and their reference."""

from __future__ import annotations

import json

import click

from evomerge.configfile import json_schema
from evomerge.configfile.reference import reference


@click.command("schema")
@click.option("--markdown", is_flag=True, help="Print the reference of every key instead.")
def command(*, markdown: bool) -> None:
    """Print the JSON Schema of a config (draft 2020-12).

    An editor with a YAML language server completes and checks a config that begins with the line
    `# yaml-language-server: $schema=PATH`, where PATH holds what this command printed.
    """
    schema = json_schema()
    if markdown:
        click.echo(reference(schema), nl=False)
    else:
        click.echo(json.dumps(schema, indent=2, ensure_ascii=False))
