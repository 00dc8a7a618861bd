"""What can go wrong when kinship is measured, each with what it is about as attributes."""

from __future__ import annotations

from evomerge.domain.errors import CandidateError, DamagedError, EvomergeError


class KinshipError(EvomergeError):
    """A kinship cannot be measured or derived."""


class WeightFileError(KinshipError):
    """A model folder or one of its weight files cannot be read as safetensors."""


class ShapeMismatchError(KinshipError, CandidateError):
    """A tensor of a model has another shape than the base's, and not only more or fewer rows."""


class NonFiniteWeightsError(KinshipError, CandidateError):
    """A weight is NaN or infinite. `tensor` is the base's name of it, `model` the id."""

    def __init__(
        self, message: str, remedy: str | None = None, *, tensor: str = "", model: str = ""
    ) -> None:
        super().__init__(message, remedy)
        self.tensor = tensor
        self.model = model


class PassFormatError(KinshipError, DamagedError):
    """Stored statistics are damaged, of an unknown format, or contradict one another."""


class MissingPairsError(KinshipError):
    """Statistics are asked for that no pass holds. `pairs` are the unordered pairs of ids."""

    def __init__(
        self,
        message: str,
        remedy: str | None = None,
        *,
        pairs: frozenset[tuple[str, str]] = frozenset(),
    ) -> None:
        super().__init__(message, remedy)
        self.pairs = pairs
