"""The guard for language: perplexity on a plain text, beside the scores of every model.

A merge can keep the skills that the tasks measure and lose the language of its parents. Perplexity
shows it, and with `worse_than` children that lost too much are kept out of the search: they are
scored, and their parents count as tried, but they are never the best model, in the pool, a parent
or a finalist.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from evomerge.domain.model import Model
from evomerge.domain.scores import Scores
from evomerge.domain.value import Value


class Guard(Value):
    """The guard of a run.

    Attributes:
        text: as in the config: `default`, a path or a task of lm-eval.
        worse_than: a child is kept out if its perplexity is above this factor times that of the
            best foundation model, the one of the lowest perplexity; None to keep out none.
    """

    text: str
    worse_than: float | None = Field(default=None, ge=1)

    def against(self, scores: Scores, foundation: Iterable[Model]) -> str | None:
        """Why a child with these scores is kept out, as a phrase; None if it is not."""
        best, measured = best_perplexity(foundation), scores.perplexity
        if self.worse_than is None or best is None or measured is None:
            return None
        if measured.value <= self.worse_than * best[0]:
            return None
        return (
            f"perplexity {shown(measured.value)} is above {self.worse_than:g} × {shown(best[0])}, "
            f"that of {best[1]}"
        )


def shown(perplexity: float) -> str:
    """A perplexity with four digits or more: `66.00`, `812.4`, `43,197`, `1.23e+06`."""
    if perplexity < 999.95:
        return f"{perplexity:#.4g}"
    return f"{perplexity:,.0f}" if perplexity < 999_999.5 else f"{perplexity:.2e}"


def best_perplexity(models: Iterable[Model]) -> tuple[float, str] | None:
    """(lowest perplexity, name of its model), ties by name; None if none is known."""
    known = [(model.perplexity, model.name) for model in models if model.perplexity is not None]
    return min(known, default=None)
