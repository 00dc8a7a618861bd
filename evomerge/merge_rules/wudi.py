"""WUDI in closed form: a merged task vector that does to each task what its own vector does.

The objective is that of WUDI-Merging (Cheng et al., "Whoever Started the Interference Should End
It", arXiv 2503.08099): for a linear layer with task vectors δ_i (out × in), minimise

    Σ_i ‖(Δ - w_i δ_i) δ_iᵀ‖² / ‖δ_i‖²,

since the rows of a task vector span the inputs that it was trained on. The paper takes 300 steps of
Adam; with a ridge λ around Σ w_i δ_i the minimum has a closed form, as in RegMean (Jin et al.,
arXiv 2212.09849) with the Gram matrix of the task vector in the place of that of the inputs:

    Δ = Σ_i w_i (δ_i G_i + λ δ_i) (Σ_i G_i + λ I)⁻¹,   G_i = δ_iᵀδ_i / ‖δ_i‖²,   λ = ε / in.

Δ is linear in the weights w, so Δ = Σ_i w_i P_i, where the *disentangled task vectors* P_i do not
depend on w: made once, they serve every weighting. No data are needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

SMALLEST_MATRIX = 16
"""The shortest side of a matrix in a stack (experts); kernels of convolutions are shorter."""

SMALLEST_EPSILON = 0.01
"""Below it float64 is used: the condition of the system is n · in / ε at worst."""

RESIDUAL = 1e-3
"""The largest relative residual of a solution in float32; beyond it float64 is used."""

_PROBED = 8


def merged_task_vector(
    deltas: Sequence[torch.Tensor], weights: Sequence[float], epsilon: float
) -> torch.Tensor:
    """The merged task vector Δ of one tensor, float32, in the shape of the tensor.

    Matrices are merged as the module says. A stack of matrices (3-D, one for each expert) is merged
    matrix by matrix; the kernel of a convolution as a matrix (out × everything else). Vectors
    (norms, biases) have no inputs to tell apart, so the mean Σ w_i δ_i / n is taken.

    Args:
        deltas: the n task vectors of the tensor, in equal shapes, on one device.
        weights: w_i, in the order of `deltas`.
        epsilon: ε > 0, the ridge in units of the mean eigenvalue of a G_i.
    """
    return _merged(deltas, [weights], epsilon)[0]


def disentangled(deltas: Sequence[torch.Tensor], epsilon: float) -> torch.Tensor:
    """The disentangled task vectors P_i of one tensor, float32, stacked: [n, *shape].

    Their sum with weights w_i is `merged_task_vector`, apart from rounding.

    Args:
        deltas, epsilon: as for `merged_task_vector`.
    """
    return _merged(deltas, torch.eye(len(deltas)).tolist(), epsilon)


def _merged(
    deltas: Sequence[torch.Tensor], weightings: Sequence[Sequence[float]], epsilon: float
) -> torch.Tensor:
    """The merged task vector of each of m weightings, stacked: [m, *shape]."""
    floats = [delta.to(torch.float32) for delta in deltas]
    first = floats[0]
    if first.ndim < 2:
        return torch.stack([sum_of(floats, each) / len(floats) for each in weightings])
    if first.ndim == 3 and min(first.shape[1:]) >= SMALLEST_MATRIX:
        each = zip(*(delta.unbind(0) for delta in floats), strict=True)
        return torch.stack([_of_matrix(matrices, weightings, epsilon) for matrices in each], dim=1)
    flat = [delta.reshape(len(delta), -1) for delta in floats]
    return _of_matrix(flat, weightings, epsilon).reshape(len(weightings), *first.shape)


def sum_of(deltas: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    """Σ w_i δ_i: task arithmetic (Ilharco et al., arXiv 2212.04089)."""
    total = torch.zeros_like(deltas[0])
    for delta, weight in zip(deltas, weights, strict=True):
        total.add_(delta, alpha=weight)
    return total


def _of_matrix(
    deltas: Sequence[torch.Tensor], weightings: Sequence[Sequence[float]], epsilon: float
) -> torch.Tensor:
    """The merged task vectors of a matrix, [m, out, in]."""
    norms = [float(torch.linalg.vector_norm(delta, dtype=torch.float64)) for delta in deltas]
    # NaN stays, to be refused where the merged model is written.
    moved = [place for place, norm in enumerate(norms) if norm != 0]
    if not moved:
        return torch.zeros_like(deltas[0]).repeat(len(weightings), 1, 1)
    units = [deltas[place] / norms[place] for place in moved]
    scales = [[weights[place] * norms[place] for place in moved] for weights in weightings]
    ridge = epsilon / deltas[0].shape[1]
    if epsilon >= SMALLEST_EPSILON:
        merged = _solved(units, scales, ridge)
        found = zip(merged, scales, strict=True)
        if all(_residual(one, units, each, ridge) <= RESIDUAL for one, each in found):  # NaN is not
            return merged
    return _solved([unit.double() for unit in units], scales, ridge).to(torch.float32)


def _solved(
    units: Sequence[torch.Tensor], scales: Sequence[Sequence[float]], ridge: float
) -> torch.Tensor:
    """Δ for each of m rows of `scales`, from task vectors of norm 1: [m, out, in].

    With S the task vectors on top of each other and K = SSᵀ, Δ = M (K + λI)⁻¹ S, where M has the
    blocks c_i (K_ii + λI): the same as Δ (SᵀS + λI) = Σ c_i (S_iS_iᵀS_i + λS_i), without the
    cancellation that Woodbury's identity suffers for small λ. The smaller Gram matrix is taken.
    """
    rows, columns = units[0].shape
    if rows * len(units) < columns:
        stacked = torch.cat(list(units))
        gram = stacked @ stacked.T
        gram.diagonal().add_(ridge)
        starts = range(0, len(gram), rows)
        blocks = [gram[start : start + rows, start : start + rows] for start in starts]
        lefts = [
            torch.cat([scale * block for scale, block in zip(each, blocks, strict=True)], dim=1)
            for each in scales
        ]
        return (_divided(torch.cat(lefts), gram) @ stacked).reshape(len(scales), rows, columns)
    gram = torch.zeros((columns, columns), dtype=units[0].dtype, device=units[0].device)
    for unit in units:
        gram.addmm_(unit.T, unit)
    gram.diagonal().add_(ridge)
    return _divided(_targets(units, scales, ridge), gram).reshape(len(scales), rows, columns)


def _targets(
    units: Sequence[torch.Tensor], scales: Sequence[Sequence[float]], ridge: float
) -> torch.Tensor:
    """Σ c_i (S_iS_iᵀS_i + λS_i), through the smaller of S_iS_iᵀ and S_iᵀS_i: [m · out, in]."""
    rows, columns = units[0].shape
    total = torch.zeros_like(units[0]).repeat(len(scales), 1)
    for place, unit in enumerate(units):
        own = (unit @ unit.T) @ unit if rows < columns else unit @ (unit.T @ unit)
        for target, each in zip(total.split(rows), scales, strict=True):
            if each[place] != 0:
                target.add_(own, alpha=each[place])
                target.add_(unit, alpha=each[place] * ridge)
    return total


def _divided(left: torch.Tensor, gram: torch.Tensor) -> torch.Tensor:
    """Left · gram⁻¹ for a positive definite matrix; NaN where it is not, numerically."""
    factor, failed = torch.linalg.cholesky_ex(gram)
    if int(failed):
        return torch.full_like(left, float("nan"))
    return torch.cholesky_solve(left.T, factor).T


def _residual(
    merged: torch.Tensor, units: Sequence[torch.Tensor], scales: Sequence[float], ridge: float
) -> float:
    """‖Δ(SᵀS + λI) - target‖ / ‖target‖ in float64, over a few rows."""
    chosen = torch.linspace(0, len(merged) - 1, min(_PROBED, len(merged))).long()
    chosen = chosen.to(merged.device)
    found = merged[chosen].double()
    left, right = ridge * found, torch.zeros_like(found)
    for unit, scale in zip(units, scales, strict=True):
        whole, few = unit.double(), unit[chosen].double()
        left += (found @ whole.T) @ whole
        right += scale * ((few @ whole.T) @ whole + ridge * few)
    size = float(torch.linalg.vector_norm(right))
    return float(torch.linalg.vector_norm(left - right)) / size if size else 0.0
