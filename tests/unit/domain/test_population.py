"""A population is a value, and what it carries along is what counting anew gives."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evomerge.domain.model import Failure, Model
from evomerge.domain.population import Population, rank
from evomerge.domain.scores import EvaluationWarning, Scores, TaskScore

VALUES = st.integers(0, 8).map(lambda eighths: eighths * 12.5)  # ties are frequent
WARNINGS = st.sampled_from(
    [
        EvaluationWarning(kind=kind, task=task, count=1, total=2, trouble="were long")
        for kind in ("too_long", "cut_off")
        for task in ("t0", "t1")
    ]
)
FAILURE = Failure(stage="merge", reason="no", attempts=1)


def scores(values):
    tasks = (
        TaskScore(task=f"t{n}", metric="acc", value=v, samples=1) for n, v in enumerate(values)
    )
    return Scores(evaluation_id="e", tasks=tuple(tasks))


@st.composite
def histories(draw):
    """Populations one after another: generations are born, then scored or failed in any order."""
    population, history = Population(), [Population()]
    for generation in range(draw(st.integers(1, 4))):
        names = [f"m-{generation}-{n}" for n in range(draw(st.integers(0, 4)))]
        parents = tuple(list(population)[:2]) if generation else ()
        born = [Model(name, "greedy", generation, name, parents) for name in names]
        population = population.joined_by(generation, born)
        history.append(population)
        for name in draw(st.permutations(names)):
            values = draw(st.none() | st.tuples(VALUES, VALUES))
            outcome = {"failure": FAILURE} if values is None else {"scores": scores(values)}
            outcome["warnings"] = tuple(draw(st.lists(WARNINGS, max_size=3)))
            population = population.changed(replace(population[name], **outcome))
            history.append(population)
    return history


@pytest.fixture(autouse=True, scope="module")
def few_ranks():
    """So few that small populations have long tuples of ranks too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evomerge.domain.population._FEW", 3)
        yield


def figures(population):
    return (
        tuple(population.ranks),
        population.elites,
        population.unscored,
        set(population.crossed),
        population.warned,
        population.failures,
    )


@given(histories())
def test_what_is_carried_along_is_what_counting_anew_gives(history):
    for population in history:
        models = list(population.values())
        assert figures(population) == figures(Population.of(models))
        scored = [model for model in models if model.scores is not None]
        assert [name for *_, name in population.ranks] == [m.name for m in sorted(scored, key=rank)]
        assert population.unscored == tuple(
            model.name for model in models if model.scores is None and model.failure is None
        )
        assert population.failures == sum(model.failure is not None for model in models)
        assert sum(population.warned.values()) == sum(
            len({(each.kind, each.task) for each in model.warnings}) for model in models
        )
        for task, (best, (*_, holder)) in population.elites.items():
            values = {m.name: v.value for m in scored for v in m.scores.tasks if v.task == task}
            assert -best == max(values.values())
            ties = [model for model in scored if values[model.name] == -best]
            assert holder == min(ties, key=rank).name


@given(histories(), st.data())
def test_a_population_of_before_stays_as_it_was(history, data):
    """Each is told from a copy that was made when it was the newest."""
    copies = [(dict(population), figures(population)) for population in history]
    last = history[-1]
    for name in data.draw(st.permutations(list(last))):
        last = last.changed(replace(last[name], merged=True, scores=scores((1.0, 2.0))))
    last.joined_by(9, [Model("late", "greedy", 9, "late")])
    for population, (models, counted) in zip(history, copies, strict=True):
        assert population == models
        assert list(population) == list(models)
        assert figures(population) == counted


@given(histories(), VALUES)
def test_a_model_that_is_scored_anew_takes_its_new_place(history, value):
    before = history[-1]
    for *_, name in before.ranks:
        after = before.changed(replace(before[name], scores=scores((value, value))))
        assert figures(after) == figures(Population.of(after.values()))


def test_models_are_in_the_order_of_their_birth():
    late, early = Model("a", "greedy", 2, "a", ("b", "c")), Model("b", "foundation", 0, "b")
    population = Population.of([late, early])
    assert list(population) == ["b", "a"]
    assert population.born(0) == (early,)
    assert population.born(1) == population.born(3) == population.born(-1) == ()
    assert population.born(2) == (late,)
    with pytest.raises(ValueError, match="b is in the run already"):
        population.joined_by(3, [early])
