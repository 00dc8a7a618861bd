"""The children of `evomerge kinship RUN --predict`: what they will be like, before any merge."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evomerge.adapters.kinship import StreamedKinship
from evomerge.adapters.mergekit import engine
from evomerge.breeding import Breeding
from evomerge.cli.kinship_subject import Subject, of_run
from evomerge.config import Config
from evomerge.configfile import load_recorded
from evomerge.domain.errors import CandidateError, PreflightError, UsageError
from evomerge.domain.kinship import KinshipForecast, Metric, PredictedKinship
from evomerge.domain.model import Foundation
from evomerge.domain.recipe import Recipe
from evomerge.domain.state import RunState, fold, rank
from evomerge.evolution import upcoming
from evomerge.store.run_directory import RunDirectory
from evomerge.strategies import strategy_for
from evomerge.terminal.naming import model_named


@dataclass(frozen=True)
class Unborn:
    """A child that may be merged.

    Attributes:
        name: as the run will call it, or its parents where it is no merge of the run.
        kind: `greedy`, `exploration`, or `asked` for a pair of the user's.
    """

    name: str
    parents: tuple[str, ...]
    kind: str
    recipe: Recipe


@dataclass(frozen=True)
class Outlook:
    """Children and what is predicted of them.

    Attributes:
        generation: of the run's own children; None where only pairs of the user's are meant.
        forecast: by content id and recipe id.
    """

    subject: Subject
    children: tuple[Unborn, ...]
    generation: int | None
    forecast: KinshipForecast

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models; children that are merged already stand among the children."""
        born = {child.recipe.id for child in self.children}
        return tuple(name for name, one in self.subject.ids.items() if one not in born)

    @property
    def ids(self) -> dict[str, str]:
        """Content ids and recipe ids by name."""
        return {**self.subject.ids, **{child.name: child.recipe.id for child in self.children}}

    def between(self, a: str, b: str) -> PredictedKinship | None:
        """The estimate of a child and another model, both by name."""
        return self.forecast.between(self.ids[a], self.ids[b])


def look_ahead(
    run: RunDirectory, metric: Metric | None, pairs: Sequence[str], exclude: Sequence[str]
) -> Outlook:
    """Predict the children of `pairs`, or of the open or next generation of `run`.

    Args:
        pairs: of names, `A,B`.

    Raises:
        UsageError: a pair is none, or nothing follows in this run.
        PreflightError: a model cannot be measured.
    """
    state, config = fold(run.read()), load_recorded(run.config)
    subject = of_run(run, state)
    breeding = Breeding(
        config.merge, state.start.seed, state.start.base, state.start.foundation, engine()
    )
    if pairs:
        number, children = None, tuple(_asked(each, state, run.name, breeding) for each in pairs)
    else:
        number, children = _of_generation(state, config, breeding, run.name)
    base = Foundation(
        name=subject.base, source=str(subject.base_folder), content_id=subject.base_id, vocabulary=1
    )
    with tempfile.TemporaryDirectory() as logs:
        meter = StreamedKinship(
            base,
            subject.base_folder,
            subject.passes or Path(logs),
            (*config.kinship.exclude, *exclude),
            Path(logs) / "kinship.log",
        )
        try:
            forecast = meter.predict(
                subject.by_id,
                [child.recipe for child in children],
                metric or config.kinship.metric,
                _silently,
            )
        except CandidateError as error:
            raise PreflightError(error.message, error.remedy) from error
        finally:
            meter.close()
    return Outlook(subject, children, number, forecast)


def _of_generation(
    state: RunState, config: Config, breeding: Breeding, run: str
) -> tuple[int, tuple[Unborn, ...]]:
    last = state.open_generation
    if last is not None and last.number == 0:
        raise UsageError(
            f"the foundation models of {run} are not all scored and measured yet",
            "name parents yourself: --pairs A,B",
        )
    if last is None and not state.finished:
        proposed = upcoming(
            state,
            strategy_for(config.strategy),
            config.stopping,
            breeding.recipe,
            skip_above=config.merge.skip_if_kinship_above,
        )
        number, candidates = proposed.generation, proposed.candidates
    else:
        number, candidates = (0, ()) if last is None else (last.number, last.candidates)
    if not candidates:
        raise UsageError(f"no generation follows in {run}", "name parents yourself: --pairs A,B")
    return number, tuple(
        Unborn(one.name, one.proposal.parents, one.proposal.kind, one.recipe) for one in candidates
    )


def _asked(names: str, state: RunState, run: str, breeding: Breeding) -> Unborn:
    parents = [model_named(name.strip(), state, run) for name in names.split(",") if name.strip()]
    if len(set(parents)) < 2:
        raise UsageError(f"{names!r} is no pair of models", "--pairs A,B, two names and a comma")
    unscored = [name for name in parents if state.models[name].scores is None]
    if unscored:
        raise UsageError(f"{', '.join(unscored)} is not scored yet, so it can be no parent")
    # The better-scoring parent first, as a strategy proposes them.
    ordered = sorted((state.models[name] for name in parents), key=rank)
    return Unborn(
        " × ".join(model.name for model in ordered),
        tuple(model.name for model in ordered),
        "asked",
        breeding.of_config(ordered),
    )


def _silently(done: int, total: int) -> None:
    """No progress is shown."""
