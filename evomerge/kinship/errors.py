"""Errors of measuring kinship, each with its subject as attributes."""

from __future__ import annotations

from evomerge.domain.errors import CandidateError, DamagedError, EvomergeError


class KinshipError(EvomergeError):
    """Kinship cannot be measured or derived."""


class WeightFileError(KinshipError):
    """A model folder or one of its weight files cannot be read as safetensors."""


class ShapeMismatchError(KinshipError, CandidateError):
    """A tensor of a model differs from the base's in more than the number of rows."""


class NonFiniteWeightsError(KinshipError, CandidateError):
    """A weight is NaN or infinite. `tensor` is the base's name of the tensor, `model` the id."""

    def __init__(
        self, message: str, remedy: str | None = None, *, tensor: str = "", model: str = ""
    ) -> None:
        super().__init__(message, remedy)
        self.tensor = tensor
        self.model = model


class PassFormatError(KinshipError, DamagedError):
    """Stored statistics are damaged, of an unknown format, or contradictory."""


class MissingPairsError(KinshipError):
    """Statistics are missing in all passes. `pairs` are the unordered pairs of ids."""

    def __init__(
        self,
        message: str,
        remedy: str | None = None,
        *,
        pairs: frozenset[tuple[str, str]] = frozenset(),
    ) -> None:
        super().__init__(message, remedy)
        self.pairs = pairs
