"""Tables of the pool, the generations and the merges of the last generation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.text import Text

from evomerge.domain.lineage import merge_gain
from evomerge.domain.model import Model
from evomerge.domain.state import Generation, RunState
from evomerge.terminal import figures
from evomerge.terminal.columns import Column, Fitted, numbers, words
from evomerge.terminal.figures import MISSING, spelled

EXPLORATION = "cyan"
FAILURE = "red"
KEPT_OUT = "kept out"
"""What the guard does with a child of high perplexity."""


def pool_table(state: RunState, rows: int | None = None) -> Fitted:
    """The pool, best first: scores and gains; task scores, parents and kinship as they fit.

    Args:
        rows: show at most this many models.
    """
    pool = state.pool[:rows]
    model = words("pool", (name_text(m, bold=m is state.best) for m in pool))
    score = numbers("score", (figures.score(m) for m in pool))
    gains = numbers("over parents", (gain_text(m, state) for m in pool))
    guard = perplexity_columns(pool)
    kin = numbers("kinship", (kinship_text(m, state) for m in pool))
    parents = words("parents", (spelled(figures.parents(m.parents), "dim") for m in pool))
    tasks, tasks_with_errors = task_columns(pool), task_columns(pool, with_errors=True)
    return Fitted(
        [model, score, gains, *guard, *tasks_with_errors, kin, parents],
        [model, score, gains, *guard, *tasks, kin, parents],
        [model, score, gains, *guard, *tasks, kin],
        [model, score, gains, *guard, *tasks],
        [model, score, gains, *guard, kin],
        [model, score, gains, *guard],
    )


def generations_table(state: RunState) -> Fitted:
    """One row per closed generation: its best child, the best model so far, the pool after it.

    The kinship is the mean over all pairs of the pool.
    """
    rows = [generation for generation in state.generations if generation.pool is not None]
    best_child = [_best_of(generation, state) for generation in rows]
    best_so_far = [state.models[g.pool[0]] if g.pool else None for g in rows]
    number = numbers("gen", (str(generation.number) for generation in rows))
    born = numbers("models", (str(len(state.at_generation(g.number))) for g in rows))
    failed = numbers("failed", (_failed(generation, state) for generation in rows))
    child = words("best of generation", (name_text(m) for m in best_child))
    child_score = numbers("score", (_points(m) for m in best_child))
    best = numbers("best so far", (_points(m) for m in best_so_far))
    kin = numbers("pool kinship", (_pool_kinship(generation, state) for generation in rows))
    pool = words("pool", (spelled(", ".join(g.pool or ()), "dim") for g in rows))
    return Fitted(
        [number, born, failed, child, child_score, best, kin, pool],
        [number, born, failed, child, child_score, best, kin],
        [number, child, child_score, best],
    )


def _pool_kinship(generation: Generation, state: RunState) -> str:
    pool = generation.pool or ()
    mean, error = state.kinship.mean(pool), state.kinship.mean_error(pool)
    return figures.kinship(mean, state.start.metric, error)


def choices_table(
    state: RunState, outcomes: Mapping[str, Text], models: Sequence[Model] | None = None
) -> Fitted:
    """The merges of the last generation: parents, their kinship, and the outcome.

    Args:
        outcomes: text by model, for models that have neither a score nor a failure.
        models: show only these of the generation; all if None.
    """
    last = state.generations[-1]
    shown = state.at_generation(last.number) if models is None else models
    header = f"generation {last.number}" if last.number else "foundation"
    model = words(header, (name_text(m) for m in shown))
    outcome = words("outcome", (outcome_text(m, state, outcomes) for m in shown))
    if not last.number:
        source = {foundation.name: foundation.source for foundation in state.start.foundation}
        sources = words("source", (spelled(source[m.name], "dim") for m in shown))
        return Fitted([model, outcome, sources], [model, outcome])
    parents = words("parents", (figures.parents(m.parents) for m in shown))
    kin = numbers("kinship", (kinship_text(m, state) for m in shown))
    kind = words("kind", (spelled(m.kind, kind_style(m)) for m in shown))
    why = words("why", (spelled(reason(m), "dim") for m in shown))
    return Fitted(
        [model, parents, kin, outcome, kind, why],
        [model, parents, kin, outcome, kind],
        [model, parents, kin, outcome],
    )


def perplexity_columns(models: Sequence[Model]) -> list[Column]:
    """The perplexities, red where the guard keeps a model out; no column if none is known."""
    if all(model.perplexity is None for model in models):
        return []
    cells = (spelled(figures.perplexity(m), FAILURE if m.kept_out else "") for m in models)
    return [numbers("perplexity", cells)]


def score_text(model: Model, state: RunState) -> Text:
    """The score of a model, else what became of it."""
    scored = model.scores is not None
    return spelled(figures.score(model)) if scored else outcome_text(model, state, {})


def skipped_lines(state: RunState, at_most: int = 8) -> Text:
    """The most recent skipped merges, one line each."""
    merges = state.skipped[-at_most:]
    lines = [f"gen {merge.generation}  {merge.reason}" for merge in merges]
    if len(state.skipped) > at_most:
        lines.insert(0, f"… {len(state.skipped) - at_most} before these")
    return Text("\n".join(figures.printable(line) for line in lines), style="yellow")


def task_columns(models: Sequence[Model], with_errors: bool = False) -> list[Column]:
    """One column per task that any of the models was scored on."""
    scores = [
        {} if model.scores is None else {task.task: task for task in model.scores.tasks}
        for model in models
    ]
    names = dict.fromkeys(name for tasks in scores for name in tasks)
    return [
        numbers(
            name,
            (
                figures.task_points(tasks[name], with_errors) if name in tasks else MISSING
                for tasks in scores
            ),
        )
        for name in names
    ]


def name_text(model: Model | None, bold: bool = False) -> Text:
    """The name of a model; exploration offspring are highlighted."""
    if model is None:
        return spelled(MISSING, "dim")
    return spelled(model.name, f"bold {kind_style(model)}" if bold else kind_style(model))


def kind_style(model: Model) -> str:
    """The style that marks exploration offspring."""
    return EXPLORATION if model.kind == "exploration" else ""


def gain_text(model: Model, state: RunState) -> Text:
    """The merge gain of a model."""
    value = merge_gain(model, state.models)
    return spelled(figures.gain(value), figures.gain_style(value))


def kinship_text(model: Model, state: RunState) -> Text:
    """The kinship of a model's parents when the pair was chosen."""
    value = parents_kinship(model)
    return spelled(figures.kinship(value, state.start.metric), "dim" if value is None else "")


def parents_kinship(model: Model) -> float | None:
    """The kinship of a model's parents as recorded with the proposal."""
    return None if model.candidate is None else model.candidate.proposal.kinship


def reason(model: Model) -> str:
    """Why the merge was chosen; empty for a foundation model."""
    return "" if model.candidate is None else model.candidate.proposal.reason


def outcome_text(model: Model, state: RunState, outcomes: Mapping[str, Text]) -> Text:
    """The outcome of a model: its score and gain, its failure, or its text in `outcomes`."""
    if model.failure is not None:
        return spelled(f"failed: {model.failure.stage}", FAILURE)
    if model.scores is None:
        return outcomes.get(model.name) or spelled("merged" if model.merged else "waiting", "dim")
    text = spelled(figures.score(model))
    if merge_gain(model, state.models) is not None:
        text.append("  ").append_text(gain_text(model, state))
    if model.kept_out is not None:
        text.append(f"  {KEPT_OUT}: {figures.printable(model.kept_out)}", FAILURE)
    return text


def _points(model: Model | None) -> str:
    return figures.points(None if model is None else model.score)


def _best_of(generation: Generation, state: RunState) -> Model | None:
    return next((m for m in state.ranking if m.generation == generation.number), None)


def _failed(generation: Generation, state: RunState) -> Text:
    failed = sum(m.failure is not None for m in state.at_generation(generation.number))
    return spelled(str(failed), FAILURE if failed else "dim")
