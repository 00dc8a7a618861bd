"""Kinship of given models or of a run; behind `evomerge.kinship` and `evomerge kinship`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import click

from evomerge.adapters.kinship import KinshipTables, of_the_public_tool, tabulate
from evomerge.config import MergeOptions, ModelConfig
from evomerge.domain.errors import CandidateError, PreflightError, UsageError
from evomerge.domain.state import RunState
from evomerge.execution.pool import no_progress
from evomerge.store.artefacts import Store
from evomerge.store.run_directory import STORE_FOLDER, RunDirectory


@dataclass(frozen=True)
class KinshipSubject:
    """The models to measure, and where measurements over their base are stored.

    Attributes:
        ids: content ids by name.
        folders: of the weights, by name.
    """

    base: str
    base_folder: Path
    base_id: str
    ids: Mapping[str, str]
    folders: Mapping[str, Path]
    passes: Path | None = None

    @property
    def names(self) -> dict[str, str]:
        """Names by content id."""
        return {content_id: name for name, content_id in self.ids.items()}

    @property
    def by_id(self) -> dict[str, Path]:
        """Folders by content id."""
        return {self.ids[name]: folder for name, folder in self.folders.items()}


def given(models: Sequence[str], base: str, runs_dir: Path) -> KinshipSubject:
    """Hub ids or folders over a base; adapters are merged in the store of `runs_dir`.

    Raises:
        UsageError: there are fewer than two.
        PreflightError: one cannot be used; all faults are listed.
    """
    from evomerge.adapters.foundation import Merging, resolve_all
    from evomerge.adapters.hub import Hub
    from evomerge.adapters.kinship import BASE
    from evomerge.adapters.peft import whole

    if len(models) < 2:
        raise UsageError("kinship is a relation of two models or more", "name another MODEL")
    configs = [ModelConfig(model=each) for each in (base, *models)]
    names = [config.short_name for config in configs]
    configs = [
        config if names.count(name) == 1 else ModelConfig(model=config.model, name=f"{name}-{n}")
        for n, (config, name) in enumerate(zip(configs, names, strict=True))
    ]
    with tempfile.TemporaryDirectory() as folder:
        digests, merging = Path(folder) / "digests.json", Merging(weights_only=True)
        options = MergeOptions()
        with closing(Hub(told=partial(click.echo, err=True))) as hub:
            first, *rest = resolve_all(
                configs[0], configs[1:], options, digests, hub, merging=merging
            )
    folders = whole(first, rest, Store(runs_dir / STORE_FOLDER))
    return KinshipSubject(base, first.path, BASE, {name: name for name in folders}, folders)


def of_run(run: RunDirectory, state: RunState) -> KinshipSubject:
    """The scored models of a run, and what the store keeps of their kinship."""
    from evomerge.adapters.folders import folder_of

    store = run.store
    foundation = {each.name: each for each in state.start.foundation}
    folders = {
        model.name: folder_of(foundation[model.name], store)
        if model.name in foundation
        else store / "models" / model.content_id
        for model in state.models.values()
        if model.scores is not None
    }
    base = state.start.base
    return KinshipSubject(
        base.name,
        folder_of(base, store),
        base.content_id,
        {name: state.models[name].content_id for name in folders},
        folders,
        store / "kinship" / base.content_id,
    )


def measured(
    subject: KinshipSubject,
    metrics: Sequence[str],
    *,
    by: Literal["layer", "kind", "tensor"] | None = None,
    exclude: Sequence[str] = (),
    exact: bool = False,
    parity: bool = False,
    split: bool = False,
) -> KinshipTables:
    """Kinship matrices of a subject, with its names for the models.

    Args:
        by: also by groups of tensors.
        exclude: patterns of tensor names to leave out.
        exact: of a run: measure the pairs that would be estimated.
        parity: as the public tool has it; with `split` its mean over tensors.

    Raises:
        PreflightError: weights are missing or do not fit together.
    """
    with tempfile.TemporaryDirectory() as logs:
        log = Path(logs) / "kinship.log"
        try:
            if parity:
                tables = of_the_public_tool(
                    subject.base_folder,
                    subject.by_id,
                    log,
                    metrics=tuple(metrics),
                    split=split,
                    progress=no_progress,
                )
            else:
                tables = tabulate(
                    subject.base_folder,
                    subject.by_id,
                    log,
                    metrics=tuple(metrics),
                    by=by,
                    exclude=tuple(exclude),
                    measure=exact or subject.passes is None,
                    passes=subject.passes,
                    base_id=subject.base_id,
                    progress=no_progress,
                )
        except CandidateError as error:
            raise PreflightError(error.message, error.remedy) from error
    names = subject.names
    warnings = []
    for warning in tables.warnings:
        told = warning
        for content_id, name in names.items():
            told = told.replace(content_id, name)
        warnings.append(told)
    models = tuple(names[each] for each in tables.models)
    return replace(tables, models=models, warnings=tuple(warnings))
