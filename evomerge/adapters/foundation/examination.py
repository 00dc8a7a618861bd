"""Checks of a config's models against each other, before weights are downloaded or read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evomerge.adapters.foundation.compatibility import (
    check_architecture,
    check_dimensions,
    check_tensors,
)
from evomerge.adapters.foundation.faults import Faults
from evomerge.adapters.foundation.lora import ADAPTER_WEIGHTS, trained_on_another
from evomerge.adapters.foundation.lora import described as described_adapter
from evomerge.adapters.foundation.source import Source, find, over
from evomerge.adapters.foundation.tokens import chat_template, compare_tokens, read_tokens
from evomerge.adapters.foundation.weights import (
    ReadableModel,
    adapter_over,
    described,
    judge,
    lacks_weights,
    readable_model,
)
from evomerge.adapters.hub import RemoteModel, UnreachableError, remote_adapter, remote_model
from evomerge.config import Config, MergeOptions, ModelConfig
from evomerge.domain.errors import PreflightError
from evomerge.domain.finding import Finding
from evomerge.kinship.errors import WeightFileError
from evomerge.kinship.headers import StoredTensor, read_folder, read_header


@dataclass(frozen=True)
class Merging:
    """The merge settings that determine which differences between models matter.

    Attributes:
        tokenizer: `merge.tokenizer`.
        dtype: `merge.dtype`.
        chat_template: whether evaluation applies chat templates.
        template: whether `merge.chat_template` sets one for all offspring.
        weights_only: nothing is merged, so tokenizers are neither required nor compared.
    """

    tokenizer: str = "union"
    dtype: str | None = None
    chat_template: bool = False
    template: bool = False
    weights_only: bool = False

    @classmethod
    def of(cls, config: Config) -> Merging:
        """The merge settings of `config`."""
        return cls(
            tokenizer=config.merge.tokenizer,
            dtype=config.merge.dtype,
            chat_template=config.evaluation.chat_template,
            template=config.merge.chat_template is not None,
        )


@dataclass
class Examination:
    """The results of examining the models of a config.

    Attributes:
        sources: models by position, the base first; those with a fault are missing.
        candidates: models whose tensors are known, from local files or headers on the hub.
        adapters: findings that say how each adapter will be merged.
    """

    faults: Faults = field(default_factory=Faults)
    sources: dict[int, Source] = field(default_factory=dict)
    candidates: dict[int, ReadableModel] = field(default_factory=dict)
    warnings: list[Finding] = field(default_factory=list)
    adapters: list[Finding] = field(default_factory=list)


def examine(
    models: Sequence[ModelConfig],
    options: MergeOptions,
    merging: Merging,
    pins: Mapping[str, str],
    checking: Callable[[str], None] = lambda _: None,
) -> Examination:
    """Check all models, the base first; weights of hub models are not downloaded.

    Args:
        pins: commits by the config's name of a model; they override the config's revisions.
        checking: callback with the name of each check.
    """
    found = Examination()
    for place, model in enumerate(models):
        checking(f"model {model.short_name} ({place + 1} of {len(models)})")
        with found.faults.of(model):
            pin, needs_tokenizer = pins.get(model.model), not merging.weights_only
            source = find(model, options, pin, tokenizer=needs_tokenizer)
            if source.lora is not None:
                if place == 0:
                    raise PreflightError(
                        "the base model is an adapter (LoRA)",
                        "name the whole model that it was trained on",
                    )
                if 0 not in found.sources:
                    continue  # its base model has a fault, which is reported
                source = over(source, found.sources[0])
            if 0 in found.sources and not options.allow_crimes:
                check_architecture(source.config, found.sources[0].config)
                if source.repo is not None:
                    check_dimensions(source.config, found.sources[0].config)
            found.sources[place] = source
    for place, source in found.sources.items():
        with found.faults.of(source.model):
            candidate = _seen(source, options, found.candidates.get(0))
            if candidate is None:
                continue
            if 0 in found.candidates and not options.allow_crimes:
                check_tensors(candidate, found.candidates[0])
                check_dimensions(source.config, found.candidates[0].source.config)
            found.candidates[place] = candidate
    _compare(found, merging)
    return found


def _seen(
    source: Source, options: MergeOptions, base: ReadableModel | None
) -> ReadableModel | None:
    """A model with its tensors; None if they are unknown without a download."""
    if source.lora is not None:
        return None if base is None else _seen_adapter(source, options, base)
    if source.repo is None:
        return judge(source, options)
    try:
        return readable_model(source, read_folder(source.folder))
    except WeightFileError:
        pass  # not downloaded yet, or only partially
    try:
        remote = remote_model(source.repo, source.commit)
    except UnreachableError:
        return None
    tensors = _tensors(remote)
    return readable_model(source, tensors) if tensors else None


def _seen_adapter(
    source: Source, options: MergeOptions, base: ReadableModel
) -> ReadableModel | None:
    file = source.folder / ADAPTER_WEIGHTS
    if source.repo is None:
        return judge(source, options, base)
    if file.is_file():
        return adapter_over(source, read_header(file), base)
    try:
        remote = remote_adapter(source.repo, source.commit, ADAPTER_WEIGHTS)
    except UnreachableError:
        return None
    if remote is not None:
        return adapter_over(source, _tensors(remote), base)
    if options.allow_pickle:
        return None
    raise lacks_weights(pickled=True)


def _tensors(remote: RemoteModel) -> dict[str, StoredTensor]:
    """Tensors from headers on the hub, without data offsets."""
    return {
        name: StoredTensor(name, tensor.dtype, tensor.shape, Path(name), 0, 0)
        for name, tensor in remote.tensors.items()
    }


def _compare(found: Examination, merging: Merging) -> None:
    """Warn about differences in tokens, templates, dtypes and tied embeddings."""
    base = found.sources.get(0)
    if base is None or merging.weights_only:
        return
    rows = {each.vocabulary for each in found.candidates.values()}
    aligned = merging.tokenizer == "auto" and len(rows) > 1  # then a union is what auto means
    tokens = read_tokens(base.tokenizer)
    for place, source in found.sources.items():
        if place == 0:
            continue
        name = source.model.short_name
        setting = "union" if aligned else merging.tokenizer
        finding = compare_tokens(name, read_tokens(source.tokenizer), tokens, setting)
        if finding is not None and finding.severity == "problem":
            found.faults.add(source.model, finding.message, finding.remedy)
        elif finding is not None:
            found.warnings.append(finding)
    _tell_adapters(found, base)
    found.warnings += [*_templates(found, merging), *_dtypes(found, merging), *_ties(found)]


def _tell_adapters(found: Examination, base: Source) -> None:
    for place, source in found.sources.items():
        if source.lora is None:
            continue
        name = source.model.short_name
        other = trained_on_another(source.lora, name, base.model)
        found.warnings += [other] if other else []
        if any(source.model is model for model, _ in found.faults.found):
            continue
        seen = found.candidates.get(place)
        text = described_adapter(source.lora, (seen and seen.adapter) or {}, base.model.short_name)
        found.adapters.append(Finding("fine", name, text))


def _templates(found: Examination, merging: Merging) -> Iterator[Finding]:
    if not merging.chat_template or merging.template:
        return
    models = [source for place, source in found.sources.items() if place]
    templates = {source.model.short_name: chat_template(source.tokenizer) for source in models}
    without = [name for name, template in templates.items() if template is None]
    if without:
        message = (
            f"it has no chat template, and `evaluation.chat_template` applies one ({without[0]})"
        )
        yield Finding("warning", ", ".join(without), message, "set `merge.chat_template`")
    elif len(set(templates.values())) > 1:
        yield Finding(
            "warning",
            "chat templates",
            "they differ between the foundation models; a child takes its first parent's",
            "set `merge.chat_template` to give every child the same",
        )


def _dtypes(found: Examination, merging: Merging) -> Iterator[Finding]:
    dtypes = {
        candidate.source.model.short_name: main_dtype(candidate)
        for candidate in found.candidates.values()
        if candidate.weights
    }
    if merging.dtype is None and len(set(dtypes.values())) > 1:
        spelled = ", ".join(f"{name} {dtype}" for name, dtype in dtypes.items())
        message = f"the models are stored in different ones: {spelled}"
        yield Finding("warning", "dtype", message, "set `merge.dtype`, bfloat16 for most models")


def main_dtype(candidate: ReadableModel) -> str:
    """The safetensors dtype of most parameters of a model."""
    counts: Counter[str] = Counter()
    for tensor in candidate.weights.values():
        counts[tensor.dtype] += tensor.rows * tensor.row_size
    return counts.most_common(1)[0][0]


def _ties(found: Examination) -> Iterator[Finding]:
    ties = {
        source.model.short_name: bool(source.config.get("tie_word_embeddings", False))
        for source in found.sources.values()
    }
    if len(set(ties.values())) > 1:
        tied = ", ".join(name for name, value in ties.items() if value)
        message = f"tied in {tied}, not in the others; a child takes its first parent's config"
        yield Finding("warning", "embeddings", message, "merge models that agree")


def summary(found: Examination) -> Finding | None:
    """One line for compatible models; None if they are not compatible."""
    if found.faults.found or not found.candidates:
        return None
    base = found.candidates.get(0) or next(iter(found.candidates.values()))
    return Finding("fine", "models", f"{len(found.sources)} that fit together: {described(base)}")
