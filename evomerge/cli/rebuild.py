"""`evomerge rebuild`: recreate pruned weights and check that they are identical."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from evomerge.cli.options import runs_dir_option
from evomerge.configfile import load_recorded
from evomerge.domain.errors import UsageError
from evomerge.domain.state import fold
from evomerge.store.recorded import find_own_run


@click.command()
@click.argument("run")
@click.argument("model")
@runs_dir_option
def command(run: str, model: str, runs_dir: Path) -> None:
    """Recreate the weights of MODEL of RUN from its lineage, and print their folder.

    Pruned ancestors are recreated too. The SHA-256 of each file is compared with the one that was
    recorded before pruning; a difference is an error, and nothing is replaced.
    """
    from evomerge.driver import rebuild, signals_stop
    from evomerge.terminal.naming import model_named
    from evomerge.terminal.screen import reporter
    from evomerge.wiring import LocalWorkplace

    found = find_own_run(run, runs_dir)
    state = fold(found.read())
    wanted = state.models[model_named(model, state, found.name)]
    if wanted.candidate is None:
        raise UsageError(f"{model} is a foundation model; only offspring can be rebuilt")
    with signals_stop(), reporter(sys.stderr, plain=True) as observer:
        workplace = LocalWorkplace(load_recorded(found.config), found)
        folder = rebuild(workplace, state, wanted, observer)
    click.echo(str(folder))
