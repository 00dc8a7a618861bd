"""`evomerge validate`: check a config."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from evomerge.cli.options import json_option, set_option
from evomerge.config import Config
from evomerge.configfile import config_id, load
from evomerge.configfile.citing import refusal
from evomerge.domain.errors import ConfigError


@click.command("validate")
@click.argument("config", type=click.Path(path_type=Path))
@set_option
@json_option
def command(config: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Check a config file and summarise it.

    All problems are shown at once, with their lines: also folders, files, tasks and metrics that
    are not there. Nothing is downloaded and no model is read.
    """
    from evomerge.adapters.named import missing

    try:
        loaded = load(config, overrides)
        if faults := [*missing(loaded)]:
            raise refusal(config, overrides, faults)
    except ConfigError as error:
        if not as_json:
            raise
        problems = [asdict(problem) for problem in error.problems]
        click.echo(json.dumps({"valid": False, "problems": problems}, indent=2))
        raise click.exceptions.Exit(error.exit_code) from error
    if as_json:
        told = {"valid": True, "problems": [], "config_id": config_id(loaded)}
        click.echo(json.dumps({**told, "summary": summary(loaded)}, indent=2))
    else:
        click.echo(f"{config} is valid: {summary(loaded)}")


def summary(config: Config) -> str:
    """One line: models, strategy, method, tasks, stopping."""
    tasks = ", ".join(task.name for task in config.evaluation.tasks)
    criteria = " or ".join(criterion.name for criterion in config.stopping)
    return "; ".join(
        [
            f"{len(config.foundation_models)} foundation models over {config.base_model.model}",
            f"strategy {config.strategy.name} (k = {config.strategy.k})",
            f"merge {config.merge.method}",
            f"scored on {tasks}",
            f"stops at {criteria}",
        ]
    )
