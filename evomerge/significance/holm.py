"""Holm's step-down correction for multiple comparisons."""

from __future__ import annotations

from collections.abc import Sequence


def holm(values: Sequence[float]) -> list[float]:
    """Corrected p values in the given order: each is at least its p, and ranks are preserved.

    Rejecting at corrected p below α bounds the family-wise error rate by α under any dependence
    (Holm 1979, *A simple sequentially rejective multiple test procedure*, Scandinavian Journal of
    Statistics 6:65–70).
    """
    corrected = [1.0] * len(values)
    largest = 0.0
    for place, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        largest = max(largest, min(1.0, (len(values) - place) * values[index]))
        corrected[index] = largest
    return corrected
