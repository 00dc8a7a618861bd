"""Skills kept and lost, in words."""

from __future__ import annotations

from evomerge.domain.scores import Part
from evomerge.domain.skills import Skill, Skills

_ITEMS: dict[Part, str] = {
    "held_out": "held-out items",
    "final": "final tasks",
    "selection": "the items that selection saw",
}


def kept_sentence(skills: Skills) -> str:
    """`3 of 5 kept, held-out items (lost: reverse 12.0 of 88.0, sort 30.5 of 61.0)`."""
    text = f"{skills.kept} of {len(skills.tasks)} kept, {_ITEMS[skills.part]}"
    return f"{text} (lost: {lost_list(skills)})" if skills.lost else text


def lost_list(skills: Skills) -> str:
    """The lost skills with what is left of them: `reverse 12.0 of 88.0`; "none" without any."""
    return ", ".join(map(_left, skills.lost)) or "none"


def kept_means(skills: Skills) -> str:
    """When a skill counts as kept, and on which items that was seen."""
    return (
        f"tasks with at least {100 * skills.kept_at:g} % of the best foundation model's score, "
        f"on {_ITEMS[skills.part]}"
    )


def lost_of_pool(skill: Skill) -> str:
    """The warning that no member of the pool keeps a skill."""
    return (
        f"warning: no model of the pool solves {skill.task} "
        f"({skill.value:.1f} at most, {skill.holder} has {skill.best:.1f})"
    )


def _left(skill: Skill) -> str:
    return f"{skill.task} {skill.value:.1f} of {skill.best:.1f}"
