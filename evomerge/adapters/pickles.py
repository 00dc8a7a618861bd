"""Models whose weights are pickled, converted once into the store as safetensors.

Everything else reads safetensors only. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from evomerge.adapters.child import Child
from evomerge.domain.errors import CandidateError, PreflightError
from evomerge.execution.attempts import retry
from evomerge.ports import Operation
from evomerge.store.artefacts import Store

_ATTEMPTS = 2


def convert(
    store: Store,
    log: Path,
    name: str,
    content_id: str,
    fetch: Callable[[], Path],
) -> Path:
    """The folder in the store of a model whose weights are pickled; made if it is not there.

    Args:
        log: file for what the child prints.
        name: of the model.
        fetch: has the pickles here, and says in which folder.

    Raises:
        PreflightError: they hold anything but tensors, or no file can be read.
    """

    def build(into: Path) -> None:
        operation = Operation(kind="convert", inputs={"model": fetch()}, into=into)
        module = "evomerge.adapters.pickle_child"
        with closing(Child(module, {"convert"}, log, name="pickle child")) as child:
            child.run(operation)

    try:
        return retry(_ATTEMPTS, partial(store.obtain, f"models/{content_id}", build)).path
    except CandidateError as error:
        raise PreflightError(
            f"the pickled weights of {name} cannot be read: {error.message}",
            "convert it to safetensors",
        ) from error
