"""The child's side of `evomerge.adapters.mergekit`: runs mergekit and validates its result.

mergekit silently accepts much that spoils a model: unknown keys, densities above 1, NaN weights,
a tokenizer that cannot be copied, weights cached from an earlier merge. Each of these is an error
here.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import mergekit.io.tasks as mergekit_tasks
import mergekit.merge as mergekit_merge
import mergekit.tokenizer.build as mergekit_tokenizer
import torch
import transformers
import yaml
from mergekit import merge_methods
from mergekit.architecture.auto import infer_architecture_info
from mergekit.common import ModelReference, parse_kmb
from mergekit.config import MergeConfiguration
from mergekit.merge_methods.registry import registered_methods
from mergekit.options import MergeOptions
from mergekit.tokenizer.config import TokenizerConfig
from safetensors import safe_open

from evomerge.adapters import mergekit_rules  # noqa: F401, registers evomerge's own methods
from evomerge.adapters.mergekit import (
    CONFIG_FILE,
    RECIPE_FILE,
    REGMEAN,
    WUDI_VECTORS,
    mergekit_yaml,
    recipe_yaml,
    sum_of,
    wudi_vectors,
)
from evomerge.adapters.regmean import task_vectors
from evomerge.adapters.serve import Do
from evomerge.domain.errors import CandidateError, PreflightError
from evomerge.domain.recipe import Recipe
from evomerge.ports import Operation, Progress

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")

_INPUTS = ".inputs"
_RANGES = {"density": (0.0, 1.0), "gamma": (0.0, 1.0), "epsilon": (0.0, 1.0)}
_WIDER = {method: {"epsilon": (0.0, 1000.0)} for method in ("wudi", WUDI_VECTORS)}
_OWN_OPTIONS = frozenset({"device", "low_cpu_memory", "trust_remote_code"})

transformers.utils.logging.disable_progress_bar()


class Configuration(MergeConfiguration):  # type: ignore[misc]
    """A configuration whose models have the same order in every process.

    mergekit returns them in the order of a set, on which the rows that a union of vocabularies adds
    and the choice of the chat template by `auto` depend.
    """

    def referenced_models(self) -> list[ModelReference]:
        """Every model once, sorted by name."""
        return sorted(super().referenced_models(), key=str)


def check(operation: Operation, progress: Progress) -> dict[str, Any]:
    """Checks that need no model; raises PreflightError."""
    recipe = _recipe(operation)
    _options(recipe, _settings(recipe, operation))
    _configuration(mergekit_yaml(recipe))
    if recipe.method == REGMEAN and recipe.tokenizer is not None:
        raise PreflightError(
            "merge.method: regmean_pp runs all models with one vocabulary, and theirs differ",
            "use `merge: {method: wudi}`, which aligns vocabularies",
        )
    return {}


def merge(operation: Operation, progress: Progress) -> dict[str, Any]:
    """Merge; writes the model, `mergekit_config.yml` and `recipe.yaml` to `into`.

    Progress is in tensors.

    Raises:
        PreflightError: as `check`.
        CandidateError: the merge failed, or a merged weight is not finite.
    """
    recipe, into, folders = _recipe(operation), operation.output, dict(operation.inputs)
    settings, executed = _settings(recipe, operation), recipe
    if recipe.task_vectors is not None:
        executed = sum_of(recipe)
        vectors = folders.pop(recipe.task_vectors)
        folders |= {path.name: path for path in vectors.iterdir() if path.is_dir()}
    with _inputs_by_name(into, folders):
        finite = _run(executed, settings, folders, into, progress)
    _check_weights(into, finite)
    (into / CONFIG_FILE).write_text(mergekit_yaml(recipe), encoding="utf-8")
    (into / RECIPE_FILE).write_text(recipe_yaml(recipe), encoding="utf-8")
    _open_modes(into)
    return {"tensors": len(finite)}


def disentangle(operation: Operation, progress: Progress) -> dict[str, Any]:
    """Write the disentangled task vectors of a recipe to `into`: a model's folder for each parent.

    They are in the dtype, the vocabulary and the order of tensors of the children. If that is
    another vocabulary than the base's (`tokenizer`), there is a folder of the base in it as well.
    Progress is in tensors.

    Raises:
        PreflightError, CandidateError: as `merge`.
    """
    recipe, into = _recipe(operation), operation.output
    disentangled = _by_regression if recipe.method == REGMEAN else _by_mergekit
    written = disentangled(recipe, operation, progress)
    (into / RECIPE_FILE).write_text(recipe_yaml(recipe), encoding="utf-8")
    _open_modes(into)
    return {"tensors": len(written)}


def _by_mergekit(recipe: Recipe, operation: Operation, progress: Progress) -> set[str]:
    """Write the models of a set by a run of mergekit; returns the names of its tensors."""
    into, folders, rows = operation.output, operation.inputs, recipe.rows
    base = into / recipe.base
    with _inputs_by_name(into, folders):
        settings = _settings(recipe, operation)
        finite = _run(wudi_vectors(recipe), settings, folders, base, progress, rows)
    for name in rows:
        _check_weights(into / name, finite)
        if name != recipe.base:
            shutil.copyfile(base / "config.json", into / name / "config.json")
    if recipe.base not in rows:
        shutil.rmtree(base)
    return finite


def _by_regression(recipe: Recipe, operation: Operation, progress: Progress) -> set[str]:
    """The same for `regmean_pp`, layer by layer, without mergekit; progress is in layers."""
    into, folders, rows = operation.output, operation.inputs, recipe.rows
    settings = _settings(recipe, operation)
    options = _options(recipe, settings)
    _refuse_pickle({name: folders[name] for name in (recipe.base, *rows)}, settings["allow_pickle"])
    torch.set_num_threads(settings["threads"])
    written: set[str] = set()
    size = max(1, options.out_shard_size // max(1, len(rows)))  # each writer holds a shard
    writers = [mergekit_tasks.TensorWriter(str(into / name), size) for name in rows]
    for name, vectors in task_vectors(recipe, folders, options, progress):
        for writer, vector in zip(writers, vectors, strict=True):
            _refuse_non_finite(name, vector)
            writer.save_tensor(name, vector)
        written.add(name)
    for writer, name in zip(writers, rows, strict=True):
        writer.finalize()
        _check_weights(into / name, written)
        shutil.copyfile(folders[recipe.base] / "config.json", into / name / "config.json")
    return written


def _run(
    recipe: Recipe,
    settings: Mapping[str, Any],
    folders: Mapping[str, Path],
    into: Path,
    progress: Progress,
    rows: Sequence[str] = (),
) -> set[str]:
    """Run mergekit; returns the names of the tensors that were checked before they were written.

    Args:
        folders: the inputs by name, which are in the working directory.
        rows: the models that the method returns tensors of, if several; they are written beside
            `into`, where all other files go.
    """
    text = mergekit_yaml(recipe)
    options, configuration = _options(recipe, settings), _configuration(text)
    _refuse_pickle(folders, settings["allow_pickle"])
    torch.set_num_threads(settings["threads"])
    with _fresh_caches(), _hooks(progress, rows) as finite:
        mergekit_merge.run_merge(configuration, str(into), options, config_source=text)
    _check_tokenizer(into, folders)
    _copy_generation_config(into, folders[recipe.base])
    return finite


def _recipe(operation: Operation) -> Recipe:
    return Recipe.model_validate(operation.arguments["recipe"])


def _settings(recipe: Recipe, operation: Operation) -> dict[str, Any]:
    """The config's `merge.options`, overridden by the recipe's own."""
    options: dict[str, Any] = operation.arguments["options"]
    return {name: recipe.options.get(name, value) for name, value in options.items()}


def _options(recipe: Recipe, own: Mapping[str, Any]) -> MergeOptions:
    further = {name: value for name, value in recipe.options.items() if name not in own}
    unknown = sorted(set(further) - set(MergeOptions.model_fields))
    if unknown:
        raise PreflightError(f"unknown mergekit option {', '.join(unknown)}")
    try:
        shard_size = parse_kmb(own["shard_size"])
    except ValueError:
        raise PreflightError(
            f"merge.options.shard_size: {own['shard_size']!r} is not a size", "write 5B or 500M"
        ) from None
    values = {
        **{key: own[key] for key in ("allow_crimes", *_OWN_OPTIONS)},
        "out_shard_size": shard_size,
        **further,
        # Without a seed mergekit draws from the current state of the process's generator.
        "random_seed": recipe.seed or 0,
        "quiet": True,
        "safe_serialization": True,
        "write_model_card": False,
    }
    return MergeOptions(**values)


def _configuration(text: str) -> Configuration:
    content = yaml.safe_load(text)
    unknown = sorted(set(content) - set(MergeConfiguration.model_fields))
    tokenizer = content.get("tokenizer")
    if isinstance(tokenizer, dict):
        unknown += sorted(f"tokenizer.{key}" for key in set(tokenizer) - _fields(TokenizerConfig))
    if unknown:
        raise PreflightError(
            f"unknown mergekit key {', '.join(unknown)}, which mergekit would ignore",
            "see mergekit's documentation of its configuration",
        )
    try:
        method = merge_methods.get(content["merge_method"])
    except RuntimeError as error:
        names = sorted(method.spec.name for method in registered_methods())
        raise PreflightError(
            f"unknown mergekit merge method {content['merge_method']!r}",
            f"known are {', '.join(names)}",
        ) from error
    _check_parameters(content, {parameter.name for parameter in method.spec.parameters})
    try:
        configuration: Configuration = Configuration.model_validate(content)
    except (ValueError, RuntimeError) as error:
        raise PreflightError(f"mergekit rejects the configuration: {error}") from error
    return configuration


def _fields(model: Any) -> set[str]:
    return set(model.model_fields)


def _check_parameters(content: Mapping[str, Any], known: set[str]) -> None:
    groups = [content.get("parameters"), *(m.get("parameters") for m in content["models"])]
    for name, value in ((n, v) for group in groups if group for n, v in group.items()):
        if name not in known:
            raise PreflightError(
                f"the merge method {content['merge_method']} has no parameter {name!r} "
                "and would ignore it",
                f"it has {', '.join(sorted(known)) or 'none'}",
            )
        ranges = {**_RANGES, **_WIDER.get(content["merge_method"], {})}
        low, high = ranges.get(name, (float("-inf"), float("inf")))
        outside = [number for number in _numbers(value) if not low <= number <= high]
        if outside:
            raise PreflightError(f"{name} {outside[0]:g} is not between {low:g} and {high:g}")


def _numbers(value: Any) -> Iterator[float]:
    """All numbers in a parameter: a scalar, a gradient, or under filters."""
    if isinstance(value, Mapping):
        yield from _numbers(value.get("value"))
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


def _refuse_pickle(folders: Mapping[str, Path], allowed: bool) -> None:
    for name, folder in folders.items():
        weights = [folder / f"model.safetensors{end}" for end in ("", ".index.json")]
        if not allowed and not any(path.exists() for path in weights):
            raise CandidateError(
                f"{name} holds no safetensors weights ({folder})",
                "`merge.options.allow_pickle: true` lets mergekit load pickled weights",
            )


@contextlib.contextmanager
def _inputs_by_name(into: Path, folders: Mapping[str, Path]) -> Iterator[None]:
    """Change to a folder that links to the inputs by content id.

    So no local path is written into the child, `@` and `+` in paths have no meaning to mergekit,
    and no order depends on the models' locations.
    """
    into.mkdir(parents=True, exist_ok=True)
    if any(into.iterdir()):
        raise CandidateError(f"{into} is not empty")
    links, before = into / _INPUTS, Path.cwd()
    links.mkdir()
    try:
        for name, folder in folders.items():
            (links / name).symlink_to(folder, target_is_directory=True)
        os.chdir(links)
        yield
    finally:
        os.chdir(before)
        shutil.rmtree(links)


@contextlib.contextmanager
def _fresh_caches() -> Iterator[None]:
    """Clear mergekit's caches by name, since names stand for other models in each merge."""
    try:
        mergekit_tasks.LoaderCache.loaders.clear()
        infer_architecture_info.cache_clear()
        yield
    finally:
        mergekit_tasks.LoaderCache.loaders.clear()
        gc.collect()


@contextlib.contextmanager
def _hooks(progress: Progress, rows: Sequence[str]) -> Iterator[set[str]]:
    """Report progress, and check every tensor before it is written.

    Args:
        rows: see `_run`.

    Yields:
        The names of the tensors that were checked and are finite.
    """
    finite: set[str] = set()

    class Executor(mergekit_merge.Executor):  # type: ignore[misc]
        def run(self, quiet: bool = False, desc: str | None = None) -> Iterator[Any]:
            total = len(self.targets)
            for done, item in enumerate(super().run(quiet=quiet, desc=desc), start=1):
                progress(done, total)
                yield item

    class Writer(mergekit_tasks.TensorWriter):  # type: ignore[misc]
        def save_tensor(self, name: str, tensor: torch.Tensor, clone: bool = False) -> None:
            _refuse_non_finite(name, tensor)
            finite.add(name)
            super().save_tensor(name=name, tensor=tensor, clone=clone)

    class RowWriter:
        """Writes row i of every tensor, or a whole buffer, into the folder `rows[i]`."""

        def __init__(self, out_path: str, max_shard_size: int, **options: Any) -> None:
            size = max(1, max_shard_size // len(rows))  # a shard of every writer is in memory
            places = [Path(out_path).with_name(name) for name in rows]
            self._writers = [Writer(str(place), size, **options) for place in places]

        def save_tensor(self, name: str, tensor: torch.Tensor, clone: bool = False) -> None:
            stacked = tensor.is_floating_point()
            each = tensor.unbind(0) if stacked else [tensor] * len(rows)
            for writer, row in zip(self._writers, each, strict=True):
                writer.save_tensor(name, row, clone)

        def finalize(self) -> None:
            for writer in self._writers:
                writer.finalize()

    with (
        _replaced(mergekit_merge, "Executor", Executor),
        _replaced(mergekit_tasks, "TensorWriter", RowWriter if rows else Writer),
        _replaced(mergekit_tokenizer, "build_tokenizer", _build_tokenizer),
    ):
        yield finite


_mergekit_build_tokenizer = mergekit_tokenizer.build_tokenizer


def _build_tokenizer(*args: Any, **kwargs: Any) -> mergekit_tokenizer.TokenizerInfo:
    """Mergekit's function, with an entry for every token of the result in every model.

    mergekit leaves out tokens beyond a model's embedding (a `[PAD]` that was added only to the
    tokenizer) and then fails on them; here the model counts as lacking such a token.
    """
    info = _mergekit_build_tokenizer(*args, **kwargs)
    for rows in info.permutations.values():
        for token_id in info.tokenizer.get_vocab().values():
            rows.setdefault(token_id, -1)
    return info


@contextlib.contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    original = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, original)


def _refuse_non_finite(name: str, tensor: torch.Tensor) -> None:
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return
    # aminmax propagates NaN and is ten times as fast as isfinite().all().
    low, high = torch.aminmax(tensor)
    if not (torch.isfinite(low) and torch.isfinite(high)):
        raise CandidateError(f"tensor {name} of the merged model holds NaN or infinity")


def _check_weights(into: Path, finite: set[str]) -> None:
    """Check the written tensors that the hook did not see."""
    files = sorted(into.glob("*.safetensors"))
    if not files:
        raise CandidateError("mergekit wrote no weights")
    for file in files:
        with safe_open(file, framework="pt") as weights:
            for name in set(weights.keys()) - finite:
                _refuse_non_finite(name, weights.get_tensor(name))


def _check_tokenizer(into: Path, folders: Mapping[str, Path]) -> None:
    """Check that there is a tokenizer: mergekit only logs if one cannot be copied."""
    donors = [name for name, folder in folders.items() if _has_tokenizer(folder)]
    if donors and not _has_tokenizer(into):
        lacking = [name for name in folders if name not in donors] or list(folders)
        raise CandidateError(
            f"the merged model got no tokenizer; {', '.join(lacking)} has none that can be copied",
            "give `merge.tokenizer` a model that has one",
        )


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in TOKENIZER_FILES)


def _copy_generation_config(into: Path, base: Path) -> None:
    """Copy the base's file: mergekit does so only with a tokenizer that it does not rebuild."""
    source = base / "generation_config.json"
    if source.is_file():
        shutil.copyfile(source, into / source.name)


def _open_modes(into: Path) -> None:
    """Give files the modes of the umask: safetensors creates them private."""
    mask = os.umask(0)
    os.umask(mask)
    for path in into.rglob("*"):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)


def operations(device: str) -> dict[str, Do]:
    """The operations of this module; the device of merges is among their options."""
    return {"check": check, "merge": merge, "disentangle": disentangle}


# Import-time objects are frozen, so that collections between merges do not scan them (0.2 s each).
gc.collect()
gc.freeze()
