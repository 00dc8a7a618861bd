"""`evomerge doctor`: checks of machine, models and tasks before anything is downloaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.text import Text

from evomerge.cli.options import json_option, set_option
from evomerge.config import Config
from evomerge.configfile import anchored, load
from evomerge.configfile.citing import cited
from evomerge.domain.errors import CandidateError, PreflightError
from evomerge.domain.finding import Finding

if TYPE_CHECKING:
    from evomerge.adapters.hub import Hub

_STYLES = {"problem": "bold red", "warning": "yellow", "fine": "green"}
_MARKS = {"problem": "✗", "warning": "!", "fine": "✓"}


@click.command()
@click.argument("config", type=click.Path(path_type=Path), required=False)
@set_option
@click.option("--quick", is_flag=True, help="Skip the tasks, which are slow to load.")
@json_option
def command(config: Path | None, overrides: tuple[str, ...], quick: bool, as_json: bool) -> None:
    """Check this machine, and the models and tasks of CONFIG, for what would fail later.

    GPUs, memory, disk, file system, versions, the hub; then every model's architecture, shapes,
    vocabulary, tokenizer, dtype, and the tasks. Models are compared by their configs and file
    headers; no weights are downloaded. Exit code 0, or 3 if there is a problem.

    \b
    JSON output: {"format": 1, "findings": [{"severity": "problem|warning|fine",
     "subject", "message", "remedy": null}]}
    """
    if config is None:
        findings = list(_machine())
    else:
        from evomerge.adapters.hub import Hub

        settings = anchored(load(config, overrides), Path.cwd())
        with closing(Hub()) as hub:
            findings = [
                replace(each, message=cited(each.message, config, overrides))
                for each in _everything(settings, hub, quick)
            ]
    if as_json:
        document = {"format": 1, "findings": [asdict(each) for each in findings]}
        click.echo(json.dumps(document, ensure_ascii=False))
    else:
        _print(findings)
    if any(each.severity == "problem" for each in findings):
        raise click.exceptions.Exit(PreflightError.exit_code)


def _machine() -> Iterator[Finding]:
    """Findings about the machine and the current folder, for use without a config."""
    from evomerge.adapters import machine
    from evomerge.adapters.hub import Hub

    yield machine.check_versions("hf")
    yield from machine.check_devices((), None)
    yield machine.check_memory(None)
    yield from machine.check_disks([(Path("runs"), None, None, "")])
    yield machine.check_file_system(Path("runs"))
    with closing(Hub()) as hub:
        yield machine.check_hub(hub, needed=False)


def _everything(config: Config, hub: Hub, quick: bool) -> Iterator[Finding]:
    from evomerge.adapters import machine
    from evomerge.adapters.hub import cache_folder
    from evomerge.cli.plan import planned
    from evomerge.planning.advice import advice

    local, plan = config.execution.executor == "local", planned(config, hub, cluster=False)
    yield machine.check_versions(config.evaluation.backend)
    if local:
        devices = machine.devices(config.execution.devices)
        yield from machine.check_backend(config)
        yield from machine.check_devices(devices, plan.memory.evaluation)
    else:
        yield from _nodes(config)
    wanted = [each for each in (plan.memory.merge, plan.memory.adapter) if each is not None]
    yield machine.check_memory(max(wanted, default=None))
    further = plan.adapted or 0
    least = plan.child and round(plan.generations[1].merges.low + plan.task_vectors) * plan.child
    most = plan.disk[plan.retention]
    yield from machine.check_disks(
        [
            (
                config.run.dir,
                least and least + further,
                most and most + further,
                "the first generation",
            ),
            (cache_folder(), plan.download, plan.download, "the models to be fetched"),
        ]
    )
    yield machine.check_file_system(config.run.dir)
    if not all(model.where == "local" for model in plan.models):
        yield machine.check_hub(hub, needed=any(m.where in {"hub", "unknown"} for m in plan.models))
    yield from advice(config)
    yield from _models(config, hub)
    if not quick:
        yield _tasks(config)


def _nodes(config: Config) -> Iterator[Finding]:
    """Findings about the Ray cluster: room for the workers, and what each node sees and has."""
    from evomerge.adapters.ray_cluster import Cluster, findings

    models = [Path(each.model) for each in (config.base_model, *config.foundation_models)]
    here = [each for each in (*config.evaluation.include, *models) if each.exists()]
    with closing(Cluster(config.execution)) as cluster:
        try:
            yield from findings(cluster, config, [config.run.dir, *here])
        except PreflightError as error:
            yield Finding("problem", "Ray", error.message, error.remedy)


def _models(config: Config, hub: Hub) -> Iterator[Finding]:
    """Findings about the models and their compatibility; no weights are downloaded."""
    from evomerge.adapters.foundation import Merging, examine, summary

    models = [config.base_model, *config.foundation_models]
    found = examine(models, config.merge.options, Merging.of(config), {}, hub)
    together = summary(found)
    yield from [*found.faults.findings(), *found.warnings, *found.adapters]
    if together:
        yield together


def _tasks(config: Config) -> Finding:
    """Check with lm-eval that every task, metric and filter exists."""
    from evomerge.wiring import described

    names = ", ".join(task.name for task in config.evaluation.every_task.values())
    try:
        described(config.evaluation, config.merge.options)
    except (PreflightError, CandidateError) as error:
        return Finding("problem", "tasks", error.message, error.remedy)
    return Finding("fine", "tasks", names)


def _print(findings: list[Finding]) -> None:
    """Print the findings, each followed by its remedy."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=20)
    table.add_column(overflow="fold")
    for each in findings:
        style = _STYLES[each.severity]
        text = Text(each.message)
        if each.remedy is not None:
            text.append(f"\n→ {each.remedy}", "cyan")
        table.add_row(Text(_MARKS[each.severity], style), Text(each.subject, "bold"), text)
    from evomerge.terminal.screen import stdout_console

    console: Console = stdout_console()
    console.print(table)
    counts = {severity: sum(each.severity == severity for each in findings) for severity in _STYLES}
    told = f"\n{counts['problem']} problems, {counts['warning']} warnings, {counts['fine']} fine"
    console.print(Text(told, _STYLES["problem" if counts["problem"] else "fine"]))
