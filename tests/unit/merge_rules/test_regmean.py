"""The regression of RegMean++ against its definition, and what it makes of odd inputs."""

import pytest
import torch

from evomerge.merge_rules.regmean import Moments, of_embedding, solved

TOKENS, WIDTH, OUT = 400, 24, 10


def normal(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def fitted(base, parents, seen, own, ridge=1e-6):
    """The merged matrix, from the inputs of the merged model and of each parent."""
    moments = []
    for mine, theirs in zip(seen, own, strict=True):
        each = Moments.zero(base.shape[1], base.device)
        each.add(mine, theirs, 1 / len(mine))
        moments.append(each)
    pairs = zip(parents, moments, strict=True)
    targets = [each.target(parent - base, parent) for parent, each in pairs]
    vectors = solved(targets, sum(each.gram for each in moments), ridge)
    return base + sum(vectors), vectors


@pytest.fixture
def matrices():
    base = normal(OUT, WIDTH, seed=0)
    return base, [base + 0.1 * normal(OUT, WIDTH, seed=seed) for seed in (1, 2)]


def test_it_is_the_least_squares_solution(matrices):
    base, parents = matrices
    seen = [normal(TOKENS, WIDTH, seed=seed) for seed in (3, 4)]
    own = [
        inputs + 0.2 * normal(TOKENS, WIDTH, seed=seed)
        for inputs, seed in zip(seen, (5, 6), strict=True)
    ]
    wanted = [inputs @ parent.T for inputs, parent in zip(own, parents, strict=True)]
    expected = torch.linalg.lstsq(torch.cat(seen).double(), torch.cat(wanted).double()).solution.T
    merged, _ = fitted(base, parents, seen, own)
    assert (merged - expected).norm() < 1e-4 * expected.norm()


def test_tasks_in_other_directions_keep_all_that_their_parents_do(matrices):
    base, parents = matrices
    seen = [normal(TOKENS, WIDTH, seed=seed) for seed in (3, 4)]
    seen[0][:, WIDTH // 2 :] = 0
    seen[1][:, : WIDTH // 2] = 0
    merged, vectors = fitted(base, parents, seen, seen)
    for inputs, parent in zip(seen, parents, strict=True):
        assert (inputs @ (merged - parent).T).norm() < 1e-3 * (inputs @ parent.T).norm()
    assert vectors[0][:, WIDTH // 2 :].abs().max() < 1e-5  # what no task reads stays


def test_what_layers_below_got_wrong_is_made_up_for(matrices):
    base, (parent, _) = matrices
    own = normal(TOKENS, WIDTH, seed=3)
    seen = own @ (torch.eye(WIDTH) + 0.05 * normal(WIDTH, WIDTH, seed=4))
    merged, _ = fitted(base, [parent], [seen], [own])
    wrong = (seen @ parent.T - own @ parent.T).norm()
    assert (seen @ merged.T - own @ parent.T).norm() < 1e-2 * wrong


def test_a_task_of_many_tokens_weighs_no_more(matrices):
    base, parents = matrices
    few = [normal(TOKENS, WIDTH, seed=seed) for seed in (3, 4)]
    many = [few[0].repeat(50, 1), few[1]]
    first, second = fitted(base, parents, few, few)[0], fitted(base, parents, many, many)[0]
    torch.testing.assert_close(first, second, atol=1e-4, rtol=1e-3)


def test_the_scale_of_an_input_does_not_matter(matrices):
    base, parents = matrices
    scales = torch.logspace(-1, 1, WIDTH)
    seen = [normal(TOKENS, WIDTH, seed=seed) for seed in (3, 4)]
    larger = [inputs * scales for inputs in seen]
    merged, _ = fitted(base, parents, seen, seen, 0.1)
    scaled, _ = fitted(base / scales, [each / scales for each in parents], larger, larger, 0.1)
    torch.testing.assert_close(scaled * scales, merged, atol=1e-4, rtol=1e-3)


def test_inputs_that_are_always_0_and_equal_parents_are_no_trouble(matrices):
    base, (parent, _) = matrices
    seen = normal(TOKENS, WIDTH, seed=3)
    seen[:, 3] = 0
    merged, _ = fitted(base, [parent, parent], [seen, seen], [seen, seen])
    assert torch.isfinite(merged).all()
    assert (seen @ (merged - parent).T).norm() < 1e-3 * (seen @ parent.T).norm()
    nothing, _ = fitted(base, [base, base], [seen, seen], [seen, seen])
    assert torch.equal(nothing, base)
    silent = torch.zeros(TOKENS, WIDTH)
    assert torch.equal(fitted(base, [parent], [silent], [silent])[0], base)


def test_what_is_not_finite_stays_so(matrices):
    base, (parent, _) = matrices
    seen = normal(TOKENS, WIDTH, seed=3)
    seen[0, 0] = float("nan")
    assert fitted(base, [parent], [seen], [seen])[0].isnan().all()


def test_a_token_belongs_to_the_tasks_that_have_it():
    deltas = [normal(5, 3, seed=seed) for seed in (1, 2)]
    first, second = torch.tensor([0.5, 0.5, 0, 0, 0]), torch.tensor([0, 0.5, 0.5, 0, 0])
    one, other = of_embedding(deltas, [first, second], 1e-6)
    torch.testing.assert_close(one[0], deltas[0][0])
    torch.testing.assert_close(other[0], 0 * deltas[1][0], atol=1e-4, rtol=0)
    torch.testing.assert_close(one[1] + other[1], (deltas[0][1] + deltas[1][1]) / 2)
    torch.testing.assert_close(one[4] + other[4], (deltas[0][4] + deltas[1][4]) / 2)
    alone = of_embedding(deltas, [torch.zeros(5), torch.zeros(5)], 1e-3)
    torch.testing.assert_close(alone[0] + alone[1], (deltas[0] + deltas[1]) / 2)
