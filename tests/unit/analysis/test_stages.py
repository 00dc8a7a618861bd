"""Learning and saturation by the stated rule."""

import json
from pathlib import Path

import pytest

from evomerge.analysis.stages import Point, stages

PAPER = json.loads((Path(__file__).parents[2] / "golden" / "paper" / "paths.json").read_text())


@pytest.mark.parametrize(("path", "last"), [("path1", 14), ("path2", 12)])
def test_both_evolution_paths_of_the_paper_learn_through_generation_9(path, last):
    rows = PAPER[path]
    found = stages([Point(r["generation"], r["atp"], r["pcc"], r["gain"]) for r in rows])
    assert (found.learning.first, found.learning.last) == (1, 9)
    assert (found.saturation.first, found.saturation.last) == (10, last)
    assert found.saturation.kinship > 0.95 > found.learning.kinship
    assert found.saturation.gain < 0.1 < found.learning.gain
    assert found.learning.rise + found.saturation.rise == pytest.approx(
        rows[-1]["atp"] - rows[0]["atp"]
    )


def of(scores):
    return stages([Point(number, score) for number, score in enumerate(scores)])


def test_a_steady_climb_has_no_saturation():
    found = of([1, 2, 3, 4, 5, 6])
    assert found.saturation is None
    assert (found.learning.first, found.learning.last) == (0, 5)


def test_a_plateau_is_saturation_even_when_children_fall():
    found = of([1, 5, 10, 3, 2, 9])
    assert (found.learning.last, found.saturation.first) == (2, 3)
    assert found.saturation.rise == 0


def test_generations_without_a_score_are_passed_over():
    found = of([1, None, 10, 10, None, 10])
    assert (found.learning.last, found.saturation.first, found.saturation.last) == (2, 3, 5)


@pytest.mark.parametrize(
    ("scores", "why"), [([], "fewer"), ([3], "fewer"), ([3, 2, 1], "never rose")]
)
def test_what_cannot_be_divided_says_why(scores, why):
    found = of(scores)
    assert found.learning is None
    assert found.saturation is None
    assert why in found.why
