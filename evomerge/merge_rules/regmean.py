"""RegMean++ towards each parent's own outputs: a regression for every linear layer.

RegMean (Jin et al., arXiv 2212.09849) merges a linear layer so that, over the inputs X_i of the
tasks that parent i answers for, it comes closest to what the parent makes of them:

    W = argmin Σ_i ‖X_i Wᵀ - Y_i‖² = (Σ_i W_i G_i)(Σ_i G_i)⁻¹,   Y_i = X_i W_iᵀ,   G_i = X_iᵀX_i.

RegMean++ (Nguyen et al., arXiv 2508.03121) goes layer by layer and takes for X_i what the layers
merged so far make of the inputs. What these get wrong stays wrong, so the targets here are what the
parent itself computes, at its own inputs Z_i in its own layers: Y_i = Z_i W_iᵀ (as in the
calibration of quantised models with asymmetric inputs, GPTAQ, arXiv 2504.02692). With the task
vectors δ_i = W_i - W_0 and the drift D_i = (Z_i - X_i)ᵀX_i, the merged layer is W_0 + Σ P_i:

    P_i = (δ_i G_i + W_i D_i)(Σ_j G_j + Λ)⁻¹,   Λ = λ diag(Σ_j G_j).

So it is linear in the parents' contributions P_i, their disentangled task vectors. Λ is the
shrinkage of RegMean, which works whatever the scale of an input; what no task reads stays as in the
base.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

_FLOOR = 1e-6
"""Added to the diagonal, in units of its mean: an input can be 0 everywhere."""


@dataclass
class Moments:
    """Second moments of the inputs of a linear layer over some tasks, float32.

    Attributes:
        gram: G = XᵀX of the merged model's inputs X, [in, in].
        drift: D = (Z - X)ᵀX, where Z are the parent's own inputs, [in, in].
    """

    gram: torch.Tensor
    drift: torch.Tensor

    @classmethod
    def zero(cls, size: int, device: torch.device) -> Moments:
        """Of no inputs."""
        gram, drift = (torch.zeros(size, size, device=device) for _ in range(2))
        return cls(gram, drift)

    def add(self, inputs: torch.Tensor, own: torch.Tensor, share: float) -> None:
        """Add inputs of both models, [tokens, in], each token with weight `share`."""
        self.gram.addmm_(inputs.T, inputs, alpha=share)
        self.drift.addmm_((own - inputs).T, inputs, alpha=share)

    def target(self, delta: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """δG + WD, [out, in]: what the merged layer should add, in the coordinates of G."""
        return delta @ self.gram + weight @ self.drift


def solved(targets: Sequence[torch.Tensor], gram: torch.Tensor, ridge: float) -> list[torch.Tensor]:
    """Each target times (G + Λ)⁻¹: the disentangled task vectors of a weight matrix.

    Computed in float64, on the CPU if the device has none; NaN where G is not finite.

    Args:
        targets: one for each parent, [out, in].
        gram: the sum of the Gram matrices of all parents, [in, in].
        ridge: λ > 0.
    """
    device = torch.device("cpu") if gram.device.type == "mps" else gram.device
    total = gram.to(device, torch.float64)
    diagonal = total.diagonal().clone()
    total.diagonal().add_(ridge * diagonal + _FLOOR * diagonal.mean().clamp(min=1e-30))
    factor, failed = torch.linalg.cholesky_ex(total)
    del total
    if int(failed):
        return [torch.full_like(target, float("nan")) for target in targets]
    return [
        torch.cholesky_solve(target.to(device, torch.float64).T, factor).T.to(target)
        for target in targets
    ]


def of_embedding(
    deltas: Sequence[torch.Tensor], frequencies: Sequence[torch.Tensor], ridge: float
) -> list[torch.Tensor]:
    """The disentangled task vectors of an embedding: each token's rows by whose tasks have it.

    The rule of linear layers for one-hot inputs, whose Gram matrix is diagonal, shrunk towards the
    mean of the task vectors, which tokens of no task get.

    Args:
        deltas: the n task vectors, [tokens of the vocabulary, width].
        frequencies: for each parent, every token's share in its tasks, [tokens of the vocabulary].
        ridge: λ, in units of the mean frequency.
    """
    total = torch.stack(list(frequencies)).sum(0)
    floor = ridge * float(total.mean()) or 1.0
    return [
        delta * ((own + floor / len(deltas)) / (total + floor))[:, None]
        for delta, own in zip(deltas, frequencies, strict=True)
    ]
