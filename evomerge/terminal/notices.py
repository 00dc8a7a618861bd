"""What somebody who does not watch a run is told of it, as a sentence and as JSON."""

from __future__ import annotations

from typing import Any

from evomerge.domain.events import CandidateFailed, Event, HeldOutFailed, ModelScored, RunFinished
from evomerge.domain.state import RunState
from evomerge.terminal import figures
from evomerge.views.outcome import best_over_foundation

FORMAT = 1

Notice = dict[str, Any]
"""{"format": 1, "event": "end|stop|new_best|failure", "run", "text": a sentence, "reason", "best":
{"model", "score", "generation", "gain_over_foundation"} or null, "generation", "evaluations",
"merges", "failures", "hours", "cost"}. Within a format keys are only added."""


def notice_of(event: Event, state: RunState) -> Notice | None:
    """The notice of an event, after which the run is in `state`; None for most events."""
    run = state.start.name
    match event:
        case RunFinished():
            text = f"{run} finished: {_best(state)}; {event.stop}"
            return _notice("end", run, text, event.stop, state)
        case ModelScored() if state.best is state.models[event.model] and state.best.generation:
            return _notice("new_best", run, f"{run}: new best {_best(state)}", None, state)
        case CandidateFailed() | HeldOutFailed():
            failure = event.failure
            text = f"{run}: {event.model} failed in {failure.stage}: {failure.reason}"
            return _notice("failure", run, text, failure.reason, state)
    return None


def stop_notice(run: str, state: RunState | None, reason: str, resume: str) -> Notice:
    """The notice of a run that stopped before its end; without a state it has not begun."""
    text = f"{run} stopped: {reason.splitlines()[0] if reason else ''}; go on with: {resume}"
    return _notice("stop", run, text, reason, state)


def _best(state: RunState) -> str:
    best, over = state.best, best_over_foundation(state)
    if best is None or over is None:
        return "no model is scored"
    text = f"{best.name} {figures.score(best)}"
    if over[0] is not best:
        text += f", {figures.gain(over[1])} over {over[0].name}"
    return f"{text} after {figures.count(state.evaluations, 'evaluation')}"


def _notice(event: str, run: str, text: str, reason: str | None, state: RunState | None) -> Notice:
    notice: Notice = {
        "format": FORMAT,
        "event": event,
        "run": run,
        "text": figures.printable(text),
        "reason": reason,
    }
    if state is None or state.started is None:
        return notice
    best, over, cost = state.best, best_over_foundation(state), state.budget.max_cost
    return notice | {
        "best": best
        and {
            "model": best.name,
            "score": best.score,
            "generation": best.generation,
            "gain_over_foundation": over and over[1],
        },
        "generation": len(state.generations) - 1,
        "evaluations": state.evaluations,
        "merges": state.merges,
        "failures": state.models.failures,
        "hours": state.seconds / 3600,
        "cost": cost and state.cost(cost.price_per_gpu_hour),
    }
