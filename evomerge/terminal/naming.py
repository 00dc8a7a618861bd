"""Look-up of models by the name that a user gave."""

from __future__ import annotations

import difflib

from evomerge.domain.errors import UsageError
from evomerge.domain.state import RunState


def model_named(name: str, state: RunState, run: str) -> str:
    """Return `name` if the run has such a model.

    Raises:
        UsageError: it has not; the remedy suggests similar names.
    """
    if name in state.models:
        return name
    near = difflib.get_close_matches(name, state.models, n=3)
    known = near or [*state.models][:8]
    more = "" if near or len(known) == len(state.models) else ", …"
    question = "did you mean" if near else "its models:"
    remedy = f"{question} {', '.join(known)}{more}{'?' if near else ''}"
    raise UsageError(f"no model named {name!r} in {run}", remedy if known else None)
