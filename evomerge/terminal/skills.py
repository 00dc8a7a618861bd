"""The skills kept and lost, as text."""

from __future__ import annotations

from collections.abc import Sequence

from evomerge.domain.skills import Skill, Skills
from evomerge.terminal.differences import ITEMS


def kept_sentence(skills: Skills) -> str:
    """`3 of 5 kept, held-out items (lost: reverse 12.0 of 88.0, sort 30.5 of 61.0)`."""
    text = f"{skills.kept} of {len(skills.tasks)} kept, {ITEMS[skills.split]}"
    return f"{text} (lost: {lost_list(skills)})" if skills.lost else text


def lost_list(skills: Skills) -> str:
    """The lost skills with the scores left: `reverse 12.0 of 88.0`; "none" if no skill is lost."""
    return ", ".join(map(_left, skills.lost)) or "none"


def kept_means(skills: Skills) -> str:
    """The criterion for a kept skill, and the items it was measured on."""
    return (
        f"tasks with at least {100 * skills.kept_at:g} % of the best foundation model's score, "
        f"on {ITEMS[skills.split]}"
    )


def lost_by_pool(lost: Sequence[Skill]) -> str:
    """The warning that no model of the pool keeps these skills."""
    return f"warning: the pool lost {', '.join(map(_left, lost))}"


def _left(skill: Skill) -> str:
    return f"{skill.task} {skill.value:.1f} of {skill.best:.1f}"
