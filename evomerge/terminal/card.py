"""The model card of an exported model: its lineage, its scores and how to reproduce it.

Other models appear by name and hub id only: no local path is disclosed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from evomerge.config import Config, GuardConfig
from evomerge.domain.lineage import ancestors, lineage, merge_gain
from evomerge.domain.model import Model
from evomerge.domain.objective import MEANINGS, TITLES
from evomerge.domain.skills import skills_of
from evomerge.domain.state import RunState
from evomerge.terminal import figures
from evomerge.terminal.budget import budget_text
from evomerge.terminal.figures import printable
from evomerge.terminal.graph import members_of, mermaid
from evomerge.terminal.sentences import SPLITS
from evomerge.terminal.skills import kept_means, lost_list
from evomerge.terminal.summary import counts_text

TAGS = ("merge", "mergekit", "evomerge")
_FLATTERED = """\
Models were selected by these scores, so the score of the best one is biased upward; a benchmark
that the search did not use is a better estimate."""
_LONG_LINEAGE = 40  # names; a longer expression is less readable than the tree


def model_card(
    model: Model,
    state: RunState,
    config: Config,
    hub: Mapping[str, str],
    merges: str,
    title: str,
) -> str:
    """The README.md of an exported offspring.

    Args:
        config: the run's own.
        hub: hub ids of the base and the foundation models by name; local ones are left out.
        merges: mergekit configurations of the whole lineage, as YAML documents.
        title: heading of the card.
    """
    parts = [
        _front_matter(model, state, hub),
        f"# {_text(title)}",
        "\n".join(_introduction(model, state, hub)),
        "## Scores",
        "\n".join(_scores(model, state, config)),
        "## Lineage",
        f"```mermaid\n{mermaid(state, members_of(state, model.name))}```",
        "\n".join(_kinship(model, state)),
        "## Recipe",
        "\n".join(_how_to_merge(model, state)),
        f"```yaml\n{merges}```",
        "\n".join(_origin(model, state)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(model: Model, state: RunState, hub: Mapping[str, str]) -> str:
    names = [*_foundation(model, state), state.start.base.name]
    known = list(dict.fromkeys(hub[name] for name in names if name in hub))
    content: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    if known:
        content["base_model"] = known
        content["base_model_relation"] = "merge"
    content["tags"] = list(TAGS)
    return f"---\n{yaml.safe_dump(content, sort_keys=False, allow_unicode=True)}---"


def _introduction(model: Model, state: RunState, hub: Mapping[str, str]) -> Iterator[str]:
    start = state.start
    expression = lineage(model.name, state.models, _LONG_LINEAGE)
    recipe = model.candidate.recipe if model.candidate else None
    method = recipe.method if recipe else "merge"
    yield (
        f"A merge of fine-tunes of {_link(start.base.name, hub)}, found by "
        f"[evomerge](https://arxiv.org/abs/2410.12613): {model.name}, generation "
        f"{model.generation} of a {_text(start.strategy)} search that merges with `{method}`. "
        "No weight was trained."
    )
    if expression is not None:
        yield f"\nIts lineage is `{expression.replace('`', '')}`, from these models:\n"
    else:
        yield "\nIts foundation models are:\n"
    unit = "% kept" if start.objective == "relative" else "points"
    adapters = {each.name for each in start.foundation if each.adapter is not None}
    for name in _foundation(model, state):
        own = state.models[name]
        what = ", a LoRA adapter on the base model" if name in adapters else ""
        yield f"- {_link(name, hub)}{what}, {figures.score(own)} {unit}"
    if recipe is not None and recipe.calibration and start.calibration:
        yield f"\nThe merges {start.calibration.sentence}."
    yield "\nThe licences of all these models apply."


def _scores(model: Model, state: RunState, config: Config) -> Iterator[str]:
    if model.scores is None:
        yield "It was not scored."
        return
    names = dict.fromkeys((*model.parents, *_foundation(model, state)))
    others = [state.models[name] for name in names]
    yield (
        "| task | metric | items | this model | " + " | ".join(_text(m.name) for m in others) + " |"
    )
    yield "| --- | --- | ---: | ---: |" + " ---: |" * len(others)
    for task in model.scores.tasks:
        cells = [_of_task(other, task.task) for other in others]
        own = figures.task_points(task, with_error=True)
        yield f"| {_text(task.task)} | {_text(task.metric)} | {task.samples} | **{own}** | " + (
            " | ".join(cells) + " |"
        )
    means = " | ".join(figures.score(other) for other in others)
    yield f"| **{TITLES[state.start.objective]}** | | | **{figures.score(model)}** | {means} |"
    if model.perplexity is not None:
        theirs = " | ".join(figures.perplexity(other) for other in others)
        yield f"| perplexity per token | | | **{figures.perplexity(model)}** | {theirs} |"
    gain = merge_gain(model, state.models)
    if state.start.objective != "mean":
        last = f"the row *{TITLES[state.start.objective]}*"
        yield f"\nThe search was for {MEANINGS[state.start.objective]}: {last}."
    yield f"\nOver the mean of its parents it gains {figures.gain(gain)} points."
    if (skills := skills_of(state, model)) is not None:
        yield (
            f"\nSkills kept: {skills.kept} of {len(skills.tasks)} {kept_means(skills)}; "
            f"lost: {_text(lost_list(skills))}."
        )
    if (guard := config.evaluation.guard) is not None:
        yield f"\n{_perplexity(guard, model)}"
    yield from list(_held_out(model, state)) or [_FLATTERED]
    yield "\n" + "\n".join(f"- {line}" for line in _settings(model, state, config))


def _perplexity(guard: GuardConfig, model: Model) -> str:
    """What perplexity is measured on, and whether the guard kept the model out."""
    source = guard.path.name if guard.path else guard.task
    named = "evomerge's plain English text" if source is None else f"the text {_text(source)}"
    text = f"Perplexity is measured on {named}, per token; it was not searched for."
    return (
        text
        if model.kept_out is None
        else f"{text} The search kept it out: {_text(model.kept_out)}."
    )


def _held_out(model: Model, state: RunState) -> Iterator[str]:
    """Selection scores beside held-out and final scores; empty if there are no such scores."""
    models = [model, *(state.models[name] for name in _foundation(model, state))]
    splits = [split for split in state.start.held_out_splits if model.on(split) is not None]
    if not splits:
        return
    yield "\nThe search selected by the scores above. Scores on data that it did not use:\n"
    yield "| model | selection | " + " | ".join(SPLITS[split] for split in splits) + " |"
    yield "| --- | ---: |" + " ---: |" * len(splits)
    for each in models:
        cells = [figures.score(each, split) for split in splits]
        yield f"| {_text(each.name)} | {figures.score(each)} | " + " | ".join(cells) + " |"


def _settings(model: Model, state: RunState, config: Config) -> Iterator[str]:
    """The evaluation settings, for reproducing the scores."""
    evaluation = config.evaluation
    versions = state.start.versions
    yield f"lm-evaluation-harness {versions.get('lm_eval', '?')}, backend {evaluation.backend}"
    for task in evaluation.tasks:
        shots = "the task's own few-shot" if task.fewshot is None else f"{task.fewshot}-shot"
        items = "all items" if task.limit is None else f"the first {task.limit} items"
        extract = f", filter {task.filter}" if task.filter else ""
        yield f"{_text(task.name)}: {shots}, {items}{extract}, weight {task.weight:g}"
    template = "applied" if evaluation.chat_template else "not applied"
    size = state.start.batch_size or evaluation.batch_size
    yield f"dtype {evaluation.dtype}, batch size {size}, seed {evaluation.seed}"
    yield f"chat template {template}"
    if model.scores is not None:
        yield f"evaluation id `{model.scores.evaluation_id}`"


def _kinship(model: Model, state: RunState) -> Iterator[str]:
    metric = state.start.metric
    rows = [
        (name, state.kinship.between(model.name, name), state.kinship.error(model.name, name))
        for name in ancestors(model.name, state.models)
    ]
    known = [(name, value, error) for name, value, error in rows if value is not None]
    if not known:
        return
    yield f"Kinship ({metric.value}) to its ancestors, of the changes to the base model:\n"
    yield "| ancestor | kinship |\n| --- | ---: |"
    for name, value, error in known:
        yield f"| {_text(name)} | {figures.kinship(value, metric, error)} |"


def _how_to_merge(model: Model, state: RunState) -> Iterator[str]:
    yield (
        "Each document is the mergekit configuration of one merge, in the order of creation. "
        "Models that are not on the hub are given by name."
    )
    if state.start.calibration is not None:
        yield (
            "\nThose of `regmean_pp` only sum task vectors, which evomerge makes of the parents "
            "and the data that they learn from."
        )
    for name in (*reversed(ancestors(model.name, state.models)), model.name):
        candidate = state.models[name].candidate
        if candidate is not None and candidate.recipe.seed is not None:
            yield f"\n- {_text(name)}: `--random-seed {candidate.recipe.seed}`"


def _origin(model: Model, state: RunState) -> Iterator[str]:
    versions = ", ".join(f"{name} {number}" for name, number in state.start.versions.items())
    yield f"Made with {versions}." if versions else ""
    used = budget_text(state)
    yield f"The search: {counts_text(state).plain}" + (f"; budget: {used}." if used else ".")
    yield f"Content id `{model.content_id}`, config id `{state.start.config_id}`."


def _foundation(model: Model, state: RunState) -> list[str]:
    """The foundation models among the ancestors, in the run's order."""
    wanted = {*ancestors(model.name, state.models)}
    return [each.name for each in state.start.foundation if each.name in wanted]


def _of_task(model: Model, task: str) -> str:
    tasks = model.scores.tasks if model.scores else ()
    return next((figures.task_points(each) for each in tasks if each.task == task), figures.MISSING)


def _link(name: str, hub: Mapping[str, str]) -> str:
    known = hub.get(name)
    return _text(name) if known is None else f"[{known}](https://huggingface.co/{known})"


def _text(text: str) -> str:
    """`text` escaped for Markdown, on one line."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in printable(text))
