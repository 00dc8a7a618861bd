"""The plan of a run as text and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from evomerge.domain.model import Retention
from evomerge.planning.models import ModelFacts
from evomerge.planning.rates import Rate
from evomerge.planning.requirements import GenerationPlan, Plan, Range
from evomerge.terminal import figures
from evomerge.terminal.columns import Fitted, numbers, words
from evomerge.terminal.figures import MISSING, printable, spelled
from evomerge.terminal.panel import Fact, facts_table

FORMAT = 1
_SHOWN = 5  # generations of an unbounded search

Spell = Callable[[float], str]


def plan_view(plan: Plan, free: int | None) -> RenderableType:
    """Everything that a run will need.

    Args:
        free: free bytes on the disk of the runs folder.
    """
    return Group(
        Text.assemble((printable(plan.name), "bold"), "  ", _headline(plan)),
        "",
        _models(plan),
        "",
        _generations(plan),
        "",
        facts_table([*_ends(plan), *_disk(plan, free), *_memory(plan)]),
        "",
        _hours(plan),
        *_backends(plan),
        "",
        *_notes(plan),
    )


def plan_document(plan: Plan) -> dict[str, Any]:
    """The output of `evomerge plan --json`; bytes, seconds and hours are not rounded."""
    document = asdict(plan)
    for facts, model in zip(document["models"], plan.models, strict=True):
        facts["download"] = model.download
    return {"format": FORMAT, **document}


def _headline(plan: Plan) -> Text:
    text = f"{_total(plan, plan.merges, _whole)} merges, "
    text += f"{_total(plan, plan.evaluations, _whole)} evaluations"
    if plan.at_the_end.evaluations.high:
        text += f", {_span(plan.at_the_end.evaluations, _whole)} held-out"
    if _timed(plan):
        text += f", {_total(plan, plan.hours.wall, _clock)}"
    if plan.cost is not None:
        text += f", cost {_total(plan, plan.cost, figures.money)}"
    return Text(text)


def _models(plan: Plan) -> Fitted:
    role = words("", ["base", *[""] * (len(plan.models) - 1)])
    name = words("model", [model.name for model in plan.models])
    source = words("from", [_source(model) for model in plan.models])
    where = words("where", [_where(model) for model in plan.models])
    size = numbers("weights", [figures.size(model.size) for model in plan.models])
    fetch = numbers("to fetch", [figures.size(model.download) for model in plan.models])
    return Fitted(
        [role, name, source, where, size, fetch],
        [role, name, where, size, fetch],
        [name, where, size],
    )


def _source(model: ModelFacts) -> str:
    source = model.source.partition("@")[0] if model.commit else model.source
    return f"{source} @{model.commit[:8]}" if model.commit else source


def _where(model: ModelFacts) -> str:
    where = {"local": "here", "cached": "in the cache", "hub": "hub", "unknown": "not known"}
    return where[model.where] + ("" if model.adapter is None else ", adapter")


def _generations(plan: Plan) -> Fitted:
    shown = plan.generations if plan.bounded else plan.generations[:_SHOWN]
    rows = [("foundation models", _asked(shown[0])), *_stretches(shown[1:])]
    if not plan.bounded:
        rows.append(("and so on", ("", "", "", "")))
    if plan.at_the_end.evaluations.high:
        scored = f"{_span(plan.at_the_end.evaluations, _whole)} held-out"
        rows.append(("at the end", ("0", "0", scored, _hour_span(plan.at_the_end.seconds))))
    label = [text for text, _ in rows]
    merges, explored, evaluations, clock = zip(*(cells for _, cells in rows), strict=True)
    columns = [
        words("generation", [*label, spelled("in all", "bold")]),
        numbers("merges", [*merges, _bold(_total(plan, plan.merges, _whole))]),
        numbers("exploring", [*explored, ""]),
        numbers("evaluations", [*evaluations, _bold(_total(plan, plan.evaluations, _whole))]),
    ]
    if not _timed(plan):
        return Fitted(columns)
    hours = numbers("clock", [*clock, _bold(_total(plan, plan.hours.wall, _clock))])
    return Fitted([*columns, hours], columns)


def _asked(generation: GenerationPlan) -> tuple[str, str, str, str]:
    """The requirements of a generation, formatted."""
    return (
        _span(generation.merges, _whole),
        _span(generation.explored, _whole),
        _span(generation.evaluations, _whole),
        _hour_span(generation.seconds),
    )


def _stretches(
    generations: Sequence[GenerationPlan],
) -> Iterator[tuple[str, tuple[str, str, str, str]]]:
    """Consecutive generations with the same requirements on one line: `4 – 12, each`."""
    for asked, group in groupby(generations, _asked):
        first, *more = [each.number for each in group]
        yield (f"{first} – {more[-1]}, each" if more else str(first)), asked


def _bold(text: str) -> Text:
    return spelled(text, "bold")


def _hour_span(seconds: Range) -> str:
    return _span(Range(seconds.low / 3600, seconds.high / 3600), _clock)


def _total(plan: Plan, span: Range, spell: Spell) -> str:
    """A total over the run; an unbounded search has only a lower bound."""
    return _span(span, spell) if plan.bounded else f"{spell(span.low)} or more"


def _ends(plan: Plan) -> Iterator[Fact]:
    yield "at least", Text(_end(plan.length.low, plan.shortest))
    if plan.bounded:
        yield "at most", Text(_end(plan.length.high, plan.longest))
    else:
        text = "no limit: the search goes on as long as offspring improve"
        yield "at most", Text(f"{text}; add `max_generations` to `stopping`", "yellow")


def _end(generation: float, stop: str) -> str:
    return f"after generation {generation:g}: {printable(stop.partition(': ')[2] or stop)}"


def _disk(plan: Plan, free: int | None) -> Iterator[Fact]:
    yield "", Text("")
    parts = [figures.size(plan.download)] if plan.download else []
    if plan.unsized:
        parts.append(f"{figures.count(len(plan.unsized), 'model')} of unknown size")
    if parts:
        yield "download", Text(" and ".join(parts))
    if plan.adapters:
        count = figures.count(plan.adapters, "adapter is", "adapters are")
        size = MISSING if plan.adapted is None else figures.size(plan.adapted)
        yield "disk, adapters", Text(f"{size}: {count} merged onto the base, once")
    for retention in plan.disk:
        yield f"disk, {retention}", _kept(plan, retention)
    if free is not None:
        wanted = plan.disk[plan.retention]
        short = wanted is not None and free < wanted + plan.download + (plan.adapted or 0)
        text = Text(f"{figures.size(free)} in the runs folder")
        yield "free", text.append("; this config may need more", "red") if short else text


def _kept(plan: Plan, retention: Retention) -> Text:
    """The peak disk use of a retention policy."""
    chosen = retention == plan.retention
    children = figures.count(plan.peaks[retention], "child", "children")
    if plan.task_vectors:
        children += f" and {plan.task_vectors} task vectors"
    if not plan.bounded and retention == "all":
        text = Text(
            "every child" if plan.child is None else f"{figures.size(plan.child)} for every child"
        )
    elif plan.child is None:
        text = Text(f"{children} at once at most")
    else:
        text = Text(f"{figures.size(plan.disk[retention])} at most: {children} at once")
    text.stylize("" if chosen else "dim")
    return text.append("  this config", "bold") if chosen else text


def _memory(plan: Plan) -> Iterator[Fact]:
    yield "", Text("")
    memory = plan.memory
    if plan.child is not None:
        yield "a merge", Text(f"about {figures.size(memory.merge)} of RAM")
        if memory.adapter is not None:
            yield (
                "an adapter",
                Text(f"about {figures.size(memory.adapter)} of RAM while it is merged"),
            )
        least = "about" if memory.engine_share is None else "at least"
        yield "an evaluation", Text(f"{least} {figures.size(memory.evaluation)} on its device")
    if memory.engine_share is not None:
        text = f"{memory.engine_share:.0%} of a GPU's memory, kept for the run"
        rest = "; merges have the rest" if memory.beside_merges else ""
        yield "an engine", Text(text + rest)
    yield "kinship", Text(f"below {figures.size(memory.kinship)} of RAM, page cache aside")


def _hours(plan: Plan) -> Fitted:
    hours, rates = plan.hours, plan.rates
    download = MISSING if hours.download is None else _clock(hours.download)
    stages = [
        ("download", "", download, "stated: 100 MB/s"),
        *_vectors(plan),
        _stage("merges", rates.merge, _total(plan, hours.merges, _clock)),
        _stage("evaluations", rates.evaluation, _total(plan, hours.evaluations, _clock)),
        _stage("kinship", rates.kinship, _total(plan, hours.kinship, _clock)),
    ]
    return Fitted(
        [
            words("stage", [stage[0] for stage in stages]),
            numbers("each", [stage[1] for stage in stages]),
            numbers("in all", [stage[2] for stage in stages]),
            words("source", [stage[3] for stage in stages]),
        ]
    )


def _vectors(plan: Plan) -> Iterator[tuple[str, str, str, str]]:
    """The stage before merges that sum disentangled task vectors."""
    if plan.task_vectors:
        hours = _total(plan, plan.hours.task_vectors, _clock)
        yield _stage("task vectors", plan.rates.task_vector, hours)


def _backends(plan: Plan) -> Iterator[RenderableType]:
    """This backend and the other one, side by side."""
    other = plan.other_backend
    if other is None:
        return
    rates = (plan.rates.evaluation, other.evaluation)
    evaluations, wall = (plan.hours.evaluations, other.evaluations), (plan.hours.wall, other.wall)
    columns = [
        words("backend", [plan.backend, other.backend]),
        numbers("an evaluation", [figures.duration(rate.or_zero) for rate in rates]),
        numbers("evaluations", [_total(plan, each, _clock) for each in evaluations]),
        numbers("wall clock", [_total(plan, each, _clock) for each in wall]),
    ]
    if plan.cost is not None and other.cost is not None:
        costs = (plan.cost, other.cost)
        columns.append(numbers("cost", [_total(plan, each, figures.money) for each in costs]))
    yield ""
    yield Fitted(columns)


def _stage(name: str, rate: Rate, hours: str) -> tuple[str, str, str, str]:
    known = f"{rate.known}: {rate.source}"
    if rate.seconds is None:
        return name, MISSING, MISSING, known
    return name, figures.duration(rate.seconds), hours, known


def _notes(plan: Plan) -> Iterator[Text]:
    for model in plan.models:
        if model.trouble:
            yield Text(printable(f"{model.name} ({model.source}): {model.trouble}."), "yellow")
    if plan.child is None:
        yield Text("Give the size of a model with --model-size GB.", "yellow")
    workers = figures.count(plan.workers, "worker")
    if _timed(plan):
        yield Text(
            f"Wall clock: {workers} scoring while the next child is merged; without downloads.",
            "dim",
        )
    if plan.cost is not None and plan.price is not None:
        gpus = figures.count(plan.gpus, "GPU")
        yield Text(f"Cost: {gpus} for that time, at {plan.price:g} an hour each.", "dim")
    yield Text("Ranges are bounds: how much has to be done depends on the scores.", "dim")


def _timed(plan: Plan) -> bool:
    return None not in {plan.rates.merge.seconds, plan.rates.evaluation.seconds}


def _span(span: Range, spell: Spell) -> str:
    low, high = spell(span.low), spell(span.high)
    return low if low == high else f"{low} – {high}"


def _whole(value: float) -> str:
    return str(int(value))


def _clock(hours: float) -> str:
    return figures.duration(hours * 3600) if hours else "0"
