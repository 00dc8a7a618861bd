"""Several comparisons at once: Holm's step-down correction."""

from __future__ import annotations

from collections.abc import Sequence


def holm(values: Sequence[float]) -> list[float]:
    """Corrected p values, in the order given: none is below its own p, and their order is kept.

    Calling significant what is below α errs in any of the comparisons with probability α at most,
    however they depend on each other (Holm 1979, *A simple sequentially rejective multiple test
    procedure*, Scandinavian Journal of Statistics 6:65–70).
    """
    corrected = [1.0] * len(values)
    largest = 0.0
    for place, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        largest = max(largest, min(1.0, (len(values) - place) * values[index]))
        corrected[index] = largest
    return corrected
