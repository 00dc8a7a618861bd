"""`evomerge plan`: the requirements of a run, before it starts."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evomerge.cli.options import json_option, set_option
from evomerge.config import Config
from evomerge.configfile import anchored, load, load_recorded
from evomerge.domain.errors import EvomergeError
from evomerge.planning.rates import Record, known_rates
from evomerge.planning.requirements import Plan, child_size, make_plan, with_alternative
from evomerge.store.run_directory import list_runs

if TYPE_CHECKING:
    from evomerge.adapters.hub import Hub


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@set_option
@click.option(
    "--price",
    type=click.FloatRange(0),
    help="Price of one GPU-hour, for example 2.5. Default: that of `max_cost`, if there is one.",
)
@click.option(
    "--hours-per-evaluation", type=click.FloatRange(0, min_open=True),
    help="For one model on one GPU. Default: from earlier runs, else an estimate.",
)  # fmt: skip
@click.option("--gpus", type=click.IntRange(1), help="GPUs. Default: one per device in the config.")
@click.option(
    "--model-size", type=click.FloatRange(0, min_open=True), metavar="GB",
    help="Size of models whose size is unknown because the hub cannot be reached.",
)  # fmt: skip
@json_option
def command(
    config: Path,
    overrides: tuple[str, ...],
    price: float | None,
    hours_per_evaluation: float | None,
    gpus: int | None,
    model_size: float | None,
    as_json: bool,
) -> None:
    """Estimate what a run of CONFIG needs: downloads, merges, disk, memory, hours, cost.

    Only file headers are downloaded, and nothing is written. The search is simulated with
    synthetic scores for the least and the most work. Hours come from earlier runs of the same
    models in the same runs folder, or else from estimates, which are marked as such.

    \b
    JSON output: {"format": 1, "models": [{"name", "source", "where", "commit", "size",
     "parameters", "download", …}], "generations": [{"number", "merges": RANGE, "evaluations",
     "explored", "seconds"}], "at_the_end": {"evaluations": RANGE, "seconds": RANGE},
     "merges": RANGE, "evaluations" (without the end), "length", "bounded", "child",
     "download", "unsized", "disk": {"all", "pool", "best"}, "peaks", "task_vectors", "adapters",
     "adapted", "memory", "rates", "backend", "hours", "workers", "retention", "price",
     "cost": RANGE or null,
     "other_backend": {"backend", "evaluation", "evaluations", "wall", "cost"} or null}
    RANGE: {"low", "high"}; if "bounded" is false, "high" is that of 20 generations.
    Sizes in bytes, null if unknown.
    """
    from evomerge.adapters.hub import Hub
    from evomerge.terminal.planning import plan_document, plan_view
    from evomerge.terminal.screen import stdout_console

    settings = anchored(load(config, overrides), Path.cwd())
    with closing(Hub()) as hub:
        plan = planned(settings, hub, price, hours_per_evaluation, gpus, model_size)
    if as_json:
        click.echo(json.dumps(plan_document(plan), ensure_ascii=False))
    else:
        stdout_console().print(plan_view(plan, _free(settings.run.dir)))


def planned(
    config: Config,
    hub: Hub,
    price: float | None = None,
    hours_per_evaluation: float | None = None,
    gpus: int | None = None,
    model_size: float | None = None,
    *,
    cluster: bool = True,
) -> Plan:
    """The plan of an anchored config.

    Args:
        model_size: in GB, replaces unknown sizes.
        cluster: ask the config's Ray cluster, if it has one, for its workers.

    Raises:
        PreflightError: the cluster cannot be reached, or has no room for the workers.
    """
    from evomerge.adapters.survey import survey

    models = survey([config.base_model, *config.foundation_models], hub)
    if model_size is not None:
        size = round(model_size * 1e9)
        models = tuple(replace(m, size=size) if m.size is None else m for m in models)
    if gpus is not None:
        workers, on_gpu = gpus, True
    elif config.execution.executor == "ray":
        workers, gpus = _workers_of_cluster(config) if cluster else (1, 1)
        on_gpu = gpus > 0
    else:
        workers, gpus, on_gpu = _workers_here(config)
    records = _records(config.run.dir)

    def plan_of(config: Config) -> Plan:
        size, hours = child_size(config, models[1:]), hours_per_evaluation
        rates = known_rates(config, size, records, hours_per_evaluation=hours, on_gpu=on_gpu)
        return make_plan(
            config,
            models,
            rates,
            workers=workers,
            gpus=gpus or workers,
            price=price,
        )

    plan, other = plan_of(config), _with_other_backend(config)
    if other is None or hours_per_evaluation is not None or plan.rates.evaluation.seconds is None:
        return plan
    with_other = plan_of(other)
    return (
        plan if with_other.rates.evaluation.seconds is None else with_alternative(plan, with_other)
    )


def _workers_here(config: Config) -> tuple[int, int, bool]:
    """The evaluation workers of this machine, their GPUs, and whether a run will have GPUs."""
    from evomerge.adapters import machine

    devices = machine.devices(config.execution.devices)
    # `auto` on a machine without a GPU: the run will probably execute on another machine.
    elsewhere = config.execution.devices == ("auto",) and devices == ("cpu",)
    return len(machine.engines(config)), machine.gpus_of(config), devices != ("cpu",) or elsewhere


def _workers_of_cluster(config: Config) -> tuple[int, int]:
    """The evaluation workers that the config's cluster has room for, and their GPUs."""
    from evomerge.adapters.ray_cluster import Cluster

    with closing(Cluster(config.execution)) as cluster:
        scoring, _ = cluster.shares(config, cluster.nodes)
        return scoring.count or 1, cluster.gpus(config)


def _with_other_backend(config: Config) -> Config | None:
    """The config with vllm for hf, or the other way round; None for other backends."""
    others = {"hf": "vllm", "vllm": "hf"}
    if config.evaluation.backend not in others:
        return None
    backend = others[config.evaluation.backend]
    evaluation = config.evaluation.model_copy(update={"backend": backend})
    return config.model_copy(update={"evaluation": evaluation})


def _records(runs: Path) -> list[Record]:
    """The runs of a runs folder, without those that cannot be read."""
    found = []
    for run in list_runs(runs):
        try:
            entries, config = run.read(), load_recorded(run.config)
        except (EvomergeError, OSError):
            continue
        found.append(Record(run.name, config, [entry.event for entry in entries]))
    return found


def _free(runs: Path) -> int:
    """Free bytes on the disk of the runs folder, which need not exist yet."""
    existing = next(each for each in (runs, *runs.absolute().parents) if each.is_dir())
    return shutil.disk_usage(existing).free
