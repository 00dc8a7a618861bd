"""An engine that lives as long as its process, into which the next model's weights are loaded.

An engine takes long to start (an H100 and a 7B model: 45 of 180 s), and most models of a run differ
only in their weights. Weights are swapped if everything else is equal (`Form.fits`), and only for
kinds of tensors for which a swap was seen to have the same result as a start. In all other cases,
and after any failure, a model gets an engine of its own.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from evomerge.adapters.lm_eval.form import Form, agree
from evomerge.domain.errors import CandidateError
from evomerge.domain.identity import canonical_json
from evomerge.domain.scores import EvaluationWarning

Arguments = Mapping[str, Any]
_log = logging.getLogger(__name__)


class Engine(Protocol):
    """A started engine."""

    @property
    def exact(self) -> bool:
        """Whether two engines with the same weights give the same answers to the bit."""

    def lent(self) -> Any:
        """lm-eval's model object over the engine, for one model; attributes are not kept."""

    def swap(self, model: Path) -> None:
        """Load the weights of folder `model`, of the same form, and clear all caches.

        Raises:
            CandidateError: it failed; the engine must be closed.
        """

    def answers(self, texts: Sequence[str]) -> list[float]:
        """The log-probabilities of the tokens of `texts`."""

    def close(self) -> None:
        """Stop the engine and its processes, and free their memory."""


class KeptEngine:
    """At most one engine at a time, lent to one model after the other.

    Args:
        start: starts an engine for the model in a folder, with the given arguments.
    """

    def __init__(self, start: Callable[[Path, Arguments], Engine]) -> None:
        self._start_engine = start
        self._engine: Engine | None = None
        self._form: Form | None = None
        self._settings = ""
        self._proven: defaultdict[str, set[str]] = defaultdict(set)
        self._refused: set[str] = set()
        self._warnings: list[EvaluationWarning] = []

    @contextmanager
    def holding(
        self, model: Path, form: Form | None, arguments: Arguments, texts: Sequence[str]
    ) -> Iterator[Any]:
        """lm-eval's model object over an engine that holds the weights in folder `model`.

        Args:
            form: of the model; None to give it an engine of its own.
            arguments: of the engine, for any model.
            texts: texts of the tasks, on which an engine with swapped weights is compared.
        """
        try:
            yield self._with(model, form, arguments, texts).lent()
        except BaseException:
            self.close()
            raise

    def told(self) -> list[EvaluationWarning]:
        """Warnings for the next scores; each is returned once."""
        told, self._warnings = self._warnings, []
        return told

    def close(self) -> None:
        """Stop the engine, if there is one."""
        engine, self._engine, self._form = self._engine, None, None
        if engine is not None:
            engine.close()

    def _with(
        self, model: Path, form: Form | None, arguments: Arguments, texts: Sequence[str]
    ) -> Engine:
        settings = canonical_json(dict(arguments))
        engine, held = self._engine, self._form if settings == self._settings else None
        if engine is None or form is None or held is None or not self._may_swap(form, held):
            engine = self._started(model, arguments)
        elif changed := form.changed(held):
            if changed <= self._proven[form.architecture]:
                engine = self._swapped(engine, model, form, arguments)
            else:
                engine = self._compared(engine, model, form, changed, arguments, texts)
        self._form, self._settings = form, settings
        return engine

    def _may_swap(self, form: Form, held: Form) -> bool:
        if not form.fits(held):
            return False
        if form.keeps_state is not None:
            self._refuse(form, form.keeps_state)
        return form.architecture not in self._refused

    def _started(self, model: Path, arguments: Arguments) -> Engine:
        self.close()
        self._engine = self._start_engine(model, arguments)
        return self._engine

    def _swapped(self, engine: Engine, model: Path, form: Form, arguments: Arguments) -> Engine:
        try:
            engine.swap(model)
        except CandidateError as error:
            self._refuse(form, error.message)
            return self._started(model, arguments)
        return engine

    def _compared(
        self,
        engine: Engine,
        model: Path,
        form: Form,
        changed: set[str],
        arguments: Arguments,
        texts: Sequence[str],
    ) -> Engine:
        """A newly started engine, after comparing the one with swapped weights to it.

        Answers are compared: checksums of an engine's weights do not show faults, nor does swapping
        back to the first model. Tensors that both models share are not tested.
        """
        before, swapped, fault = engine.answers(texts), [], "it answers otherwise than a new engine"
        try:
            engine.swap(model)
            swapped = engine.answers(texts)
        except CandidateError as error:
            fault = error.message
        engine = self._started(model, arguments)
        fresh = engine.answers(texts)
        if not agree(before, swapped, fresh, exactly=engine.exact):
            self._refuse(form, fault)
        elif fresh != before:
            self._proven[form.architecture] |= changed
        return engine

    def _refuse(self, form: Form, why: str) -> None:
        """Stop swapping weights of this architecture, and warn once."""
        if form.architecture in self._refused:
            return
        self._refused.add(form.architecture)
        trouble = f"each model gets a vLLM engine of its own, weights cannot be swapped: {why}"
        _log.warning("%s: %s", form.architecture, trouble)
        self._warnings.append(
            EvaluationWarning(kind="new_engines", task="", count=1, total=1, trouble=trouble)
        )
