"""What is known of a model whose scoring was stopped early: it will not enter the pool."""

from __future__ import annotations

from pydantic import Field

from evomerge.domain.value import Value


class Race(Value):
    """A race that was lost: who stopped it, and what its items say of the score on all of them.

    Attributes:
        id: of the model's sample logs in the place of the evaluation id, unless all items were
            scored by another run.
        reference: name of the model that it will not exceed: the last of the pool before.
        items: that the decision is made of.
        of: items in all.
        estimate: of the score on all items, in points: the reference's score plus the mean
            difference on the items scored.
        stderr: of the estimate, in points.
        low, high: a 95 % interval of it.
    """

    id: str
    reference: str
    items: int = Field(ge=1)
    of: int = Field(ge=1)
    estimate: float = Field(ge=0, le=100)
    stderr: float = Field(ge=0)
    low: float = Field(ge=0, le=100)
    high: float = Field(ge=0, le=100)

    @property
    def saved(self) -> int:
        """Items that need not be scored."""
        return self.of - self.items

    @property
    def sentence(self) -> str:
        """As `raced out: 41.2 [36, 46] after 160 of 600 items`."""
        return f"raced out: {self.brief} after {self.items} of {self.of} items"

    @property
    def brief(self) -> str:
        """The estimate and its interval."""
        return f"{self.estimate:.1f} [{self.low:.0f}, {self.high:.0f}]"
