"""The layout of family trees."""

from evomerge.views.family import family


def test_every_model_of_a_short_run_is_shown_below_its_parents(paper):
    tree, models = family(paper.state), paper.state.models
    assert tree.shown == set(models)
    assert [row.generation for row in tree.rows] == [0, 1, 2, 3, 4, 5]
    assert all(row.hidden == 0 for row in tree.rows)
    for row in tree.rows:
        assert [tree.place[name] for name in row.models] == sorted(
            tree.place[n] for n in row.models
        )
        assert all(0 < tree.place[name] < 1 for name in row.models)
        assert all(models[name].generation == row.generation for name in row.models)


def test_a_long_run_is_cut_to_what_can_be_read_and_says_so(long):
    tree = family(long.state, budget=60)
    assert len(tree.shown) <= 60
    assert long.state.best.name in tree.shown
    assert set(long.state.best.parents) <= tree.shown
    hidden = sum(row.hidden for row in tree.rows)
    assert hidden == len(long.state.models) - len(tree.shown)


def test_the_layout_is_the_same_every_time(long):
    assert family(long.state) == family(long.state)
