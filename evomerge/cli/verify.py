"""`evomerge verify`: check a run for damage."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from evomerge.cli.options import json_option, runs_dir_option
from evomerge.domain.errors import DamagedError
from evomerge.domain.state import fold
from evomerge.kinship.errors import KinshipError
from evomerge.kinship.passes import Pass
from evomerge.kinship.sample import Sample
from evomerge.store.artefacts import Store
from evomerge.store.recorded import find_own_run
from evomerge.store.verification import Inspection, verify, verify_links


@click.command()
@click.argument("run")
@runs_dir_option
@json_option
def command(run: str, runs_dir: Path, as_json: bool) -> None:
    """Check the journal of RUN and read every byte of its weights, evaluations and kinship.

    Pruned weights count as undamaged: `evomerge rebuild` recreates them. Exit code 3 if something
    is damaged or missing; resuming the run recreates it.

    \b
    JSON output: {"whole", "pruned", "damaged", "missing", "findings": [{"name", "verdict",
    "problems"}]}.
    """
    found = find_own_run(run, runs_dir)
    state, store = fold(found.read()), Store(found.store)
    inspections = [
        *verify(state, store),
        *verify_links(found, state, store),
        *_kinship_files(store.path(f"kinship/{state.start.base.content_id}")),
    ]
    counts = {
        verdict: sum(inspection.verdict == verdict for inspection in inspections)
        for verdict in ("whole", "pruned", "damaged", "missing")
    }
    if as_json:
        document = {**counts, "findings": [asdict(inspection) for inspection in inspections]}
        click.echo(json.dumps(document, ensure_ascii=False))
    else:
        summary = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
        click.echo(f"journal whole; artefacts: {summary or 'none'}")
    faults = [problem for inspection in inspections for problem in inspection.problems]
    if faults:
        raise DamagedError(
            "\n".join([f"run {found.name} is damaged:", *faults]),
            "resume the run, or recreate single models with `evomerge rebuild`",
        )


def _kinship_files(folder: Path) -> list[Inspection]:
    """The stored kinship measurements and weight samples over the run's base."""
    inspections = []
    read = {".pass": Pass.from_bytes, ".sample": Sample.from_bytes}
    for path in sorted(each for each in folder.glob("*.*") if each.suffix in read):
        try:
            read[path.suffix](path.read_bytes())
        except KinshipError as error:
            inspections.append(Inspection(f"kinship {path.name}", "damaged", (f"{path}: {error}",)))
        else:
            inspections.append(Inspection(f"kinship {path.name}", "whole"))
    return inspections
