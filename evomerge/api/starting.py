"""A config filled in from what models and tasks say; behind `evomerge init --from`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from evomerge.adapters.foundation.tokens import chat_template
from evomerge.adapters.hub import Hub
from evomerge.api.known_models import KnownModels, look_at
from evomerge.api.tasks import KnownTask
from evomerge.api.template import REGMEAN, WUDI, template
from evomerge.domain.finding import Finding

_RIDGE_OF_ADAPTERS = "30.0"
"""wudi's epsilon over the low ranks of adapters (evomerge/merge_rules/README.md)."""
_CALIBRATION, _FEWEST_ITEMS = 64, 10


@dataclass(frozen=True)
class Scale:
    """How much a first config asks for.

    Attributes:
        items: of each task, at most.
        children: that are scored beside the foundation models.
        generations: at most, where children breed.
    """

    items: int = 300
    children: int = 17
    generations: int = 10


FULL, QUICK = Scale(), Scale(items=40, children=4, generations=1)


def filled(
    models: KnownModels, tasks: Sequence[KnownTask], aim: str, name: str, scale: Scale
) -> str:
    """The text of a config over these models and tasks, with a word on where each value is from.

    Args:
        aim: `best` or `paper`.
        name: of the run.
    """
    by_items = aim == "best" and models.one_vocabulary and not models.has_experts
    fewest = min((each.count or scale.items for each in tasks), default=scale.items)
    fewest = min(fewest, scale.items)
    by_items = by_items and fewest >= 2 * _FEWEST_ITEMS
    places = {
        "name": name,
        "base": _base(models),
        "models": "".join(_foundation_models(models)),
        "dtype": "".join(_weights(models)),
        "tasks": _tasks(tasks, scale),
        "split": _split(fewest, by_items),
        "evaluation": "".join(_evaluation(models)),
    }
    if aim == "best":
        places["merge"] = REGMEAN if by_items else _wudi(models)
        places["stopping"] = (
            f"  - max_evaluations: {len(models.rows) - 1 + scale.children}  "
            f"# {scale.children} children and the foundation models\n"
        )
    elif scale is QUICK:
        places["stopping"] = f"  - max_generations: {scale.generations}\n"
    text = template(aim, **places)
    return f"{_of_quick(aim)}{text}" if scale is QUICK else text


def _of_quick(aim: str) -> str:
    """What a quick config would be otherwise."""
    otherwise = (
        f"{FULL.children} children" if aim == "best" else f"up to {FULL.generations} generations"
    )
    return (
        f"# A first run of minutes (--quick): {QUICK.items} items a task, to see everything work.\n"
        f"# Scores of so few items say little: without --quick {FULL.items} items, {otherwise}.\n"
    )


def _base(models: KnownModels) -> str:
    base = models.sources[0].model.model
    naming = [name for name, told in models.bases.items() if told is not None]
    silent = [name for name, told in models.bases.items() if told is None]
    why = f"named by {', '.join(naming)}" if naming else "as given"
    why += f" ({', '.join(silent)} names none)" if silent else ""
    return f"# {why}; {models.told(0)}.\nbase_model: {_yaml(base)}\n"


def _foundation_models(models: KnownModels) -> Iterator[str]:
    for place, source in list(models.found.sources.items())[1:]:
        model, told = source.model, models.told(place)
        if model.name is None:
            yield f"  - {_yaml(model.model)}  # {told}\n"
        else:
            yield f"  - model: {_yaml(model.model)}  # {told}\n    name: {_yaml(model.name)}\n"


def _weights(models: KnownModels) -> Iterator[str]:
    """`merge.dtype` and `merge.tokenizer`."""
    if len(models.dtypes) == 1 and None not in models.dtypes:
        yield f"  dtype: {models.dtype(0)}  # of the merged weights, as all models'\n"
    elif None in models.dtypes:
        yield "  # dtype: not known of all models; children get that of their parents\n"
    else:
        yield "  dtype: bfloat16  # of the merged weights; those of the models differ\n"
    rows = sorted(set(models.rows))
    if models.other_tokens:
        others = ", ".join(models.other_tokens)
        yield f"  tokenizer: union  # rows of {others} stand for other tokens than the base's\n"
    elif len(rows) > 1:
        told = " to ".join(f"{each:,}" for each in (rows[0], rows[-1]))
        yield f"  tokenizer: auto  # {told} tokens: children get the union of the vocabularies\n"
    else:
        yield f"  tokenizer: auto  # all have the same {rows[0]:,} tokens: they are kept\n"
    if pickled := ", ".join(models.found.pickled):
        yield f"  # {pickled}: pickled weights; if you trust it, options: {{allow_pickle: true}}\n"


def _wudi(models: KnownModels) -> str:
    if not any(source.lora for source in models.sources):
        return WUDI
    return re.sub(
        r"epsilon: .*", f"epsilon: {_RIDGE_OF_ADAPTERS}  # ridge, larger over adapters", WUDI
    )


def _tasks(tasks: Sequence[KnownTask], scale: Scale) -> str:
    folders = list(dict.fromkeys(str(each.folder) for each in tasks if each.folder is not None))
    include = f"  include: [{', '.join(map(_yaml, folders))}]  # folders of task files\n"
    lines = [include if folders else ""]
    lines += ["  tasks:  # the score of a model is the mean over these lm-eval tasks, 0 to 100\n"]
    for task in tasks:
        lines.append(f"    - name: {_yaml(task.name)}\n")
        lines += [f"      {line}\n" for line in task.settings]
        if task.count is None or task.count > scale.items:
            told = "items of each of its tasks" if task.is_group else "items"
            lines.append(
                f"      limit: {scale.items}  # the first {scale.items} {told}; delete it for all\n"
            )
    return "".join(lines)


def _split(fewest: int, by_items: bool) -> str:
    if fewest < _FEWEST_ITEMS:
        return f"  split: none  # {fewest} items are too few to hold some out\n"
    if not by_items:
        return "  split: {held_out: 0.5}  # share of each task's items held out from the search\n"
    count = min(_CALIBRATION, fewest // 4)
    return (
        f"  # Half of each task's items are held out from the search, {count} are for the merges.\n"
        f"  split: {{held_out: 0.5, calibration: {count}}}\n"
    )


def _evaluation(models: KnownModels) -> Iterator[str]:
    if len(models.dtypes) == 1 and None not in models.dtypes:
        yield f"  dtype: {models.dtype(0)}  # of the model during evaluation\n"
    else:
        yield "  dtype: bfloat16  # of the model during evaluation\n"
    templates = {each.model.short_name: chat_template(each.tokenizer) for each in models.sources}
    del templates[models.sources[0].model.short_name]
    having = [name for name, each in templates.items() if each is not None]
    if not having:
        yield "  # chat_template: none of the models has one\n"
        return
    if len(having) < len(templates):
        told = f"only {', '.join(having)} have one" if len(having) > 1 else f"only {having[0]} has"
    else:
        told = "all have the same one" if len({*templates.values()}) == 1 else "theirs differ"
    yield f"  chat_template: false  # {told}; true applies it to the prompts\n"


def _yaml(text: str) -> str:
    """A text as a YAML value, in quotes where it needs them."""
    plain = re.fullmatch(r"[A-Za-z_./~][\w./~@-]*", text) and not re.fullmatch(
        r"(?i)true|false|null|yes|no|on|off|y|n|~|\.+(inf|nan)?", text
    )
    return text if plain else json.dumps(text, ensure_ascii=False)


def started(
    models: Sequence[str],
    base: str | None,
    tasks: Sequence[KnownTask],
    aim: str,
    name: str,
    scale: Scale,
) -> tuple[str, list[Finding]]:
    """The text of a config, and what the user should know beside it; see `look_at`, `filled`."""
    with closing(Hub()) as hub:
        known = look_at(models, base, hub)
    return filled(known, tasks, aim, name, scale), known.warnings
