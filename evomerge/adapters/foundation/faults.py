"""Collection of the faults of several models, to report them at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from evomerge.config import ModelConfig
from evomerge.domain.errors import EvomergeError, PreflightError
from evomerge.domain.finding import Finding
from evomerge.kinship.errors import WeightFileError


class Faults:
    """The first fault of each model."""

    def __init__(self) -> None:
        self.found: list[tuple[ModelConfig, EvomergeError]] = []

    @contextmanager
    def of(self, model: ModelConfig) -> Iterator[None]:
        """Context manager that records errors raised within it as faults of `model`."""
        try:
            yield
        except (PreflightError, WeightFileError) as error:
            if error.remedy is None:
                error.remedy = "fetch the model again; its files are not complete"
            self._add(model, error)

    def add(self, model: ModelConfig, message: str, remedy: str | None) -> None:
        """Add a fault."""
        self._add(model, PreflightError(message, remedy))

    def findings(self) -> list[Finding]:
        """The faults as findings."""
        return [
            Finding("problem", model.short_name, f"{error.message} ({model.model})", error.remedy)
            for model, error in self.found
        ]

    def _add(self, model: ModelConfig, error: EvomergeError) -> None:
        if (model, str(error)) not in [(other, str(known)) for other, known in self.found]:
            self.found.append((model, error))

    def raise_any(self) -> None:
        """Raise a PreflightError that lists all faults, if there are any."""
        if not self.found:
            return
        whose: dict[tuple[str, str | None], list[str]] = {}
        for model, error in self.found:
            names = whose.setdefault((error.message, error.remedy), [])
            names.append(f"{model.short_name} ({model.model})")
        told = [(f"{', '.join(names)}: {text}", remedy) for (text, remedy), names in whose.items()]
        if len(told) == 1:
            raise PreflightError(*told.pop())
        lines = [text + (f"; {remedy}" if remedy else "") for text, remedy in told]
        raise PreflightError("\n".join([f"{len(self.found)} models cannot be used:", *lines]))
