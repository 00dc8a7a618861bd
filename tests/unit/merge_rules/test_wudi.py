"""The closed form of WUDI against its definition in float64, and what it makes of odd tensors."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evomerge.merge_rules.wudi import disentangled, merged_task_vector, sum_of


def drawn(*shape, count=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [1e-3 * torch.randn(shape, generator=generator) for _ in range(count)]


def by_definition(deltas, weights, epsilon):
    deltas = [delta.double() for delta in deltas]
    ridge = epsilon / deltas[0].shape[1] * torch.eye(deltas[0].shape[1], dtype=torch.float64)
    grams = [delta.T @ delta / delta.norm() ** 2 for delta in deltas]
    each = zip(weights, deltas, grams, strict=True)
    wanted = sum(w * (delta @ gram + delta @ ridge) for w, delta, gram in each)
    return wanted @ torch.linalg.inv(sum(grams) + ridge)


def error(found, expected):
    return float((found.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("epsilon", [1e-4, 0.3, 1.0, 100.0])
@pytest.mark.parametrize(
    ("shape", "count"),
    [((64, 40), 2), ((12, 300), 3), ((300, 12), 3), ((40, 40), 5), ((40, 80), 2), ((40, 120), 1)],
)
def test_it_is_its_definition(shape, count, epsilon):
    deltas, weights = drawn(*shape, count=count), [0.5 + 0.3 * i for i in range(count)]
    found = merged_task_vector(deltas, weights, epsilon)
    assert error(found, by_definition(deltas, weights, epsilon)) < 1e-5


def test_it_interferes_less_than_any_scaled_sum():
    deltas = drawn(64, 96)
    deltas[1] += 0.5 * deltas[0]

    def interference(merged):
        return sum(
            float(((merged - delta) @ delta.T).norm() ** 2 / delta.norm() ** 2) for delta in deltas
        )

    least = interference(merged_task_vector(deltas, [1.0, 1.0], 0.01))
    sums = [interference(scale / 10 * sum(deltas)) for scale in range(1, 16)]
    assert least < 0.5 * min(sums)


SHAPES = [(30, 90), (90, 30), (12, 300), (40, 40), (30,), (3, 32, 48), (24, 6, 5, 3), (1, 7)]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(SHAPES),
    st.lists(st.sampled_from([-0.5, 0.0, 0.3, 1.0, 1.7]), min_size=1, max_size=5),
    st.sampled_from([1e-4, 0.3, 1.0]),
    st.booleans(),
)
def test_it_is_a_sum_of_disentangled_task_vectors(shape, weights, epsilon, one_is_zero):
    """Whatever the weights: made once, they serve every weighting."""
    deltas = drawn(*shape, count=len(weights))
    if one_is_zero:
        deltas[0] = torch.zeros(shape)
    vectors = disentangled(deltas, epsilon)
    assert vectors.shape == (len(weights), *shape)
    assert vectors.dtype == torch.float32
    if one_is_zero:
        assert not vectors[0].any()
    summed = sum_of(list(vectors), weights)
    merged = merged_task_vector(deltas, weights, epsilon)
    size = float(sum(abs(w) * v.norm() for w, v in zip(weights, vectors, strict=True)))
    assert float((summed - merged).norm()) <= 1e-4 * size


def test_disentangled_task_vectors_are_their_definition():
    for shape in ((64, 40), (12, 300)):
        deltas = drawn(*shape, count=3)
        for place, vector in enumerate(disentangled(deltas, 0.3)):
            alone = [float(place == each) for each in range(3)]
            assert error(vector, by_definition(deltas, alone, 0.3)) < 1e-5


def test_one_parent_keeps_its_task_vector():
    (delta,) = drawn(20, 50, count=1)
    assert error(merged_task_vector([delta], [0.7], 0.3), 0.7 * delta.double()) < 1e-5


def test_equal_parents_give_one_of_them():
    (delta,) = drawn(20, 50, count=1)
    merged = merged_task_vector([delta, delta], [0.5, 0.5], 0.3)
    assert error(merged, 0.5 * delta.double()) < 0.2, "the sum would be twice as long"


def test_task_vectors_of_low_rank_are_merged_as_well():
    """As those of LoRA adapters: their Gram matrices are singular."""
    deltas = [a @ b for a, b in zip(drawn(64, 4), drawn(4, 128, seed=1), strict=True)]
    found = merged_task_vector(deltas, [1.0, 1.0], 0.3)
    assert error(found, by_definition(deltas, [1.0, 1.0], 0.3)) < 1e-3


def test_a_tensor_that_no_parent_changed_stays():
    still = torch.zeros(20, 50)
    assert not merged_task_vector([still, still], [1.0, 1.0], 0.3).any()
    (moved,) = drawn(20, 50, count=1)
    assert error(merged_task_vector([still, moved], [1.0, 0.5], 0.3), 0.5 * moved.double()) < 1e-5


def test_vectors_are_averaged():
    one, two = drawn(30)
    torch.testing.assert_close(
        merged_task_vector([one, two], [1.0, 0.5], 0.3), (one + 0.5 * two) / 2
    )


def test_stacked_matrices_are_merged_one_by_one():
    deltas = drawn(4, 32, 48)
    found = merged_task_vector(deltas, [1.0, 0.8], 0.3)
    for expert in range(4):
        expected = by_definition([delta[expert] for delta in deltas], [1.0, 0.8], 0.3)
        assert error(found[expert], expected) < 1e-5


def test_the_kernel_of_a_convolution_is_one_matrix():
    deltas = drawn(24, 6, 5, 3)
    found = merged_task_vector(deltas, [1.0, 0.8], 0.3)
    flat = by_definition([delta.reshape(24, -1) for delta in deltas], [1.0, 0.8], 0.3)
    assert error(found.reshape(24, -1), flat) < 1e-5


def test_half_precision_is_computed_in_float32():
    deltas = [delta.bfloat16() for delta in drawn(30, 60)]
    found = merged_task_vector(deltas, [1.0, 1.0], 0.3)
    assert found.dtype == torch.float32
    assert error(found, by_definition(deltas, [1.0, 1.0], 0.3)) < 1e-5


@pytest.mark.parametrize("shape", [(100, 300), (300, 100)])
def test_what_float32_cannot_solve_is_solved_in_float64(shape):
    """Task vectors of one direction and a small ridge: the Gram matrix is singular in float32."""
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(1, shape[1], generator=generator)
    columns = [torch.randn(shape[0], 1, generator=generator) for _ in range(2)]
    deltas = [c @ direction + n for c, n in zip(columns, drawn(*shape), strict=True)]
    found = merged_task_vector(deltas, [1.0, 1.0], 1e-6)
    assert error(found, by_definition(deltas, [1.0, 1.0], 1e-6)) < 1e-4


def test_a_weight_that_is_no_number_stays_none():
    """The writer of the merged model refuses it by name."""
    one, two = drawn(20, 50)
    one[3, 4] = float("nan")
    assert torch.isnan(merged_task_vector([one, two], [1.0, 1.0], 0.3)).all()
