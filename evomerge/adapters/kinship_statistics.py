"""Statistics of an operation's pairs, from stored passes or from the weights."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

from evomerge.adapters.kinship_files import read_passes, store_pass
from evomerge.domain.errors import CandidateError
from evomerge.domain.kinship import Pair
from evomerge.kinship.errors import KinshipError
from evomerge.kinship.headers import read_folder
from evomerge.kinship.matching import match
from evomerge.kinship.passes import Pass, Shape
from evomerge.kinship.statistics import Statistics
from evomerge.kinship.union import alike, missing_pairs, pairs_of
from evomerge.ports import Operation, Progress


def inputs_of(operation: Operation) -> tuple[Path, dict[str, Path]]:
    """The folder of the base, and the folders of the models by name."""
    folders = {name: operation.inputs[name] for name in operation.arguments["models"]}
    return operation.inputs[operation.arguments["base"]], folders


def left(whole: Statistics, exclude: Sequence[str]) -> Statistics:
    """The statistics without the tensors that match a pattern of `exclude`."""
    some = whole.without(*exclude)
    if exclude and not some.tensors:
        raise nothing_left(exclude)
    return some


def nothing_left(exclude: Sequence[str]) -> CandidateError:
    """The error for patterns that exclude every tensor."""
    named = ", ".join(repr(pattern) for pattern in exclude)
    return CandidateError(f"{named} exclude every tensor", "exclude fewer of them")


def compared(
    operation: Operation,
    pairs: Sequence[Pair],
    measured: AbstractSet[Pair],
    progress: Progress,
    formats: Collection[int],
) -> Iterator[tuple[list[Pair], Statistics]]:
    """Statistics of `pairs`, one group at a time: pairs whose models have the same rows.

    Products that no stored pass of these `formats` holds are measured for the pairs in `measured`;
    other pairs without a pass are left out.
    """
    (base, folders), arguments = inputs_of(operation), operation.arguments
    store, base_id = arguments["passes"] and Path(arguments["passes"]), arguments["base"]
    try:
        stored = read_passes(store, folders) if store else []
        known = [one for one in stored if one.format in formats]
        shapes = _shapes(base_id, base, folders, known, measured)
        known_pairs = [(a, b) for a, b in pairs if a in shapes and b in shapes]
        for group in alike(shapes, known_pairs):
            missing = missing_pairs(known, _models(group), group)
            lacking = {pair for pair in group if missing & pairs_of((), [pair])}
            wanted = [pair for pair in group if pair in lacking and pair in measured]
            if wanted:
                read = {model: folders[model] for model in _models(wanted)}
                known.append(_measure((base_id, base), read, wanted, known, progress))
                if store:
                    store_pass(store, known[-1])
            held = [pair for pair in group if pair not in lacking or pair in wanted]
            if held:
                yield held, Statistics.merge(known, _models(held), held)
    except CandidateError:
        raise
    except KinshipError as error:
        raise CandidateError(error.message, error.remedy) from error


def _models(pairs: Iterable[Pair]) -> list[str]:
    return list(dict.fromkeys(model for pair in pairs for model in pair))


def _shapes(
    base_id: str,
    base: Path,
    folders: Mapping[str, Path],
    known: Sequence[Pass],
    measured: Collection[Pair],
) -> dict[str, Shape]:
    """The rows of models, from passes, or from file headers of models that may be measured."""
    found = {model: one.shape(model) for one in known for model in one.models if model in folders}
    unseen = [model for model in _models(measured) if model not in found]
    if unseen:
        stored = {model: read_folder(folders[model]) for model in unseen}
        matching = match(base_id, read_folder(base), stored)
        found |= {model: matching.shape(model) for model in unseen}
    return found


def _measure(
    base: tuple[str, Path],
    folders: Mapping[str, Path],
    pairs: Sequence[Pair],
    known: Sequence[Pass],
    progress: Progress,
) -> Pass:
    from evomerge.kinship.stream import measure as measure_weights  # imports torch

    return measure_weights(
        base[1],
        folders,
        pairs,
        base_id=base[0],
        known=known,
        progress=progress,
    )
