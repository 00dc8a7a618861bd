"""Stored kinship files over one base: measuring passes and weight samples.

Both are caches. A missing or damaged file is ignored and made again from the weights.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path

from evomerge.kinship.errors import KinshipError, PassFormatError
from evomerge.kinship.passes import Pass
from evomerge.kinship.sample import Sample, take_sample
from evomerge.store.atomic import make_folder, write_atomic

_MEASURED = ".pass"
_SAMPLED = ".sample"


def read_passes(folder: Path, models: Collection[str]) -> list[Pass]:
    """The stored passes of one base that measured at least one of `models`, sorted by name.

    The store holds the passes of all runs; only these contain pairs of `models`.
    """
    passes = []
    for path in sorted(folder.glob(f"*{_MEASURED}")):
        try:
            if not _measured(path).isdisjoint(models):
                passes.append(_read(path))
        except (OSError, PassFormatError) as error:
            # Ignored: its products are measured again.
            sys.stderr.write(f"{path} is left out: {error}\n")
    return passes


def files_of(folder: Path, models: Collection[str]) -> list[Path]:
    """The stored passes and samples that tell of at least one of `models`, sorted by name."""
    found = [folder / f"{model}{_SAMPLED}" for model in models]
    for path in folder.glob(f"*{_MEASURED}"):
        with suppress(OSError, PassFormatError):
            if not _measured(path).isdisjoint(models):
                found.append(path)
    return sorted(path for path in found if path.is_file())


def check_file(name: str, data: bytes) -> None:
    """Check the content of a kinship file.

    Raises:
        PassFormatError: it is neither a pass of this name nor a sample.
    """
    if name.endswith(_SAMPLED):
        Sample.from_bytes(data)
    elif name == _name(data):
        Pass.from_bytes(data)
    else:
        raise PassFormatError("its content has changed since it was written")


@cache
def _measured(path: Path) -> frozenset[str]:
    """The models that a pass measured. Cached: a pass is named by its content and never changes."""
    return frozenset(_read(path).new)


@lru_cache(maxsize=512)
def _read(path: Path) -> Pass:
    data = path.read_bytes()
    if _name(data) != path.name:
        raise PassFormatError("its content has changed since it was written")
    return Pass.from_bytes(data)


def store_pass(folder: Path, measured: Pass) -> None:
    """Store a pass under a name derived from its content."""
    data = measured.to_bytes()
    make_folder(folder)
    write_atomic(folder / _name(data), data)


def _name(data: bytes) -> str:
    return f"{hashlib.sha256(data).hexdigest()[:32]}{_MEASURED}"


def samples(
    folder: Path | None, base: tuple[str, Path], models: Mapping[str, Path]
) -> dict[str, Sample]:
    """The samples of the base and of models, by id: stored ones, or taken now and stored.

    A model with neither sample nor weights is left out, as is one whose sample has another layout
    than the base's.

    Args:
        folder: folder of the samples; None to store nothing.
        base: id and folder of the weights.
    """
    known: dict[str, Sample] = {}
    for name, weights in (base, *models.items()):
        try:
            sample = _stored(folder, name)
            if sample is None or (known and sample.layout != known[base[0]].layout):
                sample = take_sample(base[1], weights)
                if folder is not None:
                    make_folder(folder)
                    write_atomic(folder / f"{name}{_SAMPLED}", sample.to_bytes())
        except KinshipError as error:
            sys.stderr.write(f"no sample of {name}: {error}\n")
            if name == base[0]:
                return {}
            continue
        known[name] = sample
    return known


def stored_samples(folder: Path, base: str, models: Iterable[str]) -> dict[str, Sample]:
    """The stored samples of the base and of models with the same layout, by id.

    Empty without a sample of the base; models without a sample are left out.
    """
    origin = _stored(folder, base)
    if origin is None:
        return {}
    found = {name: _stored(folder, name) for name in dict.fromkeys(models)}
    alike = {
        name: one for name, one in found.items() if one is not None and one.layout == origin.layout
    }
    return {base: origin, **alike}


def _stored(folder: Path | None, name: str) -> Sample | None:
    """A stored sample; damage is detected by the checksums of its archive."""
    path = None if folder is None else folder / f"{name}{_SAMPLED}"
    try:
        return None if path is None else Sample.from_bytes(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, PassFormatError) as error:
        sys.stderr.write(f"{path} is left out: {error}\n")
        return None
