"""What the merges of a run learn from, where their method learns from data."""

from __future__ import annotations

from pydantic import Field

from evomerge.domain.value import Value


class Calibration(Value):
    """Items of the tasks with their answers, and a plain text, as an artefact of the store.

    Attributes:
        items: number of items of each task; of a group, spread over its members.
        anchored: whether there is a text on which children should stay as the base.
    """

    content_id: str
    items: int = Field(ge=1)
    anchored: bool = False

    @property
    def sentence(self) -> str:
        """For reports: which items were seen."""
        text = " and a plain text" if self.anchored else ""
        return (
            f"learnt from {self.items} items of each task with their answers{text}; "
            "none of these items is scored"
        )
