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
from evomerge.adapters.foundation.engine import EngineLimits
from evomerge.adapters.foundation.faults import Faults
from evomerge.adapters.foundation.lora import ADAPTER_PICKLE, trained_on_another
from evomerge.adapters.foundation.lora import described as described_adapter
from evomerge.adapters.foundation.source import (
    Source,
    computing_settings,
    configured_vocabulary,
    find,
    over,
)
from evomerge.adapters.foundation.tokens import chat_template, compare_tokens, read_tokens
from evomerge.adapters.foundation.weights import (
    ReadableModel,
    adapter_over,
    described,
    is_pickled,
    judge,
    readable_model,
    weight_files,
)
from evomerge.adapters.hub import Hub, UnreachableError
from evomerge.config import Config, MergeOptions, ModelConfig
from evomerge.domain.errors import PreflightError
from evomerge.domain.finding import Finding
from evomerge.domain.model import Foundation
from evomerge.kinship.headers import StoredTensor

_PICKLED = "its weights are pickled: they are read once, tensors only, and kept as safetensors"


@dataclass(frozen=True)
class Merging:
    """The merge settings that determine which differences between models matter.

    Attributes:
        tokenizer: `merge.tokenizer`.
        dtype: `merge.dtype`.
        chat_template: whether evaluation applies chat templates.
        template: whether `merge.chat_template` sets one for all offspring.
        weights_only: nothing is merged, so tokenizers are neither required nor compared.
        engine: limits of the engine that scores; None where there are none.
    """

    tokenizer: str = "union"
    dtype: str | None = None
    chat_template: bool = False
    template: bool = False
    weights_only: bool = False
    engine: EngineLimits | None = None

    @classmethod
    def of(cls, config: Config) -> Merging:
        """The merge settings of `config`."""
        return cls(
            tokenizer=config.merge.tokenizer,
            dtype=config.merge.dtype,
            chat_template=config.evaluation.chat_template,
            template=config.merge.chat_template is not None,
            engine=EngineLimits.of(config),
        )


@dataclass
class Examination:
    """The results of examining the models of a config.

    Attributes:
        sources: models by position, the base first; those with a fault are missing.
        candidates: models whose tensors are known, from local files or headers on the hub.
        adapters: findings that say how each adapter will be merged.
        to_fetch: bytes of weights that are not in the hub's cache, by name.
        pickled: bytes of pickled weights, by name.
    """

    faults: Faults = field(default_factory=Faults)
    sources: dict[int, Source] = field(default_factory=dict)
    candidates: dict[int, ReadableModel] = field(default_factory=dict)
    warnings: list[Finding] = field(default_factory=list)
    adapters: list[Finding] = field(default_factory=list)
    to_fetch: dict[str, int] = field(default_factory=dict)
    pickled: dict[str, int] = field(default_factory=dict)

    @property
    def model_size(self) -> int:
        """Bytes of the weights of the largest model, as far as tensors are known."""
        return max((each.size for each in self.candidates.values()), default=0)

    @property
    def to_make(self) -> int:
        """Bytes of the adapters and pickles that become whole models in the store."""
        adapters = sum(source.lora is not None for source in self.sources.values())
        return adapters * self.model_size + sum(self.pickled.values())

    def provisional(self) -> list[Foundation]:
        """The models before their weights are here, to judge recipes by; no content ids."""
        return [
            Foundation(
                name=source.model.short_name,
                source=source.model.model,
                content_id=f"unread-{place}",
                vocabulary=max(1, self._rows(place, source)),
            )
            for place, source in self.sources.items()
        ]

    def _rows(self, place: int, source: Source) -> int:
        seen = self.candidates.get(place)
        return configured_vocabulary(source.config) if seen is None else seen.vocabulary


def examine(
    models: Sequence[ModelConfig],
    options: MergeOptions,
    merging: Merging,
    pins: Mapping[str, str],
    hub: Hub,
    checking: Callable[[str], None] = lambda _: None,
) -> Examination:
    """Check all models, the base first; weights of hub models are not downloaded.

    Raises:
        StoppedError: the hub does not answer any more.

    Args:
        pins: commits by the config's name of a model; they override the config's revisions.
        checking: callback with the name of each check.
    """
    found = Examination()
    for place, model in enumerate(models):
        checking(f"model {model.short_name} ({place + 1} of {len(models)})")
        with found.faults.of(model):
            pin, needs_tokenizer = pins.get(model.model), not merging.weights_only
            source = find(model, options, hub, pin, tokenizer=needs_tokenizer)
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
                if source.listing is not None:
                    check_dimensions(source.config, found.sources[0].config)
            found.sources[place] = source
    for place, source in found.sources.items():
        with found.faults.of(source.model):
            candidate = _seen(source, options, hub, found)
            if candidate is None:
                continue
            if 0 in found.candidates and not options.allow_crimes:
                check_tensors(candidate, found.candidates[0])
                check_dimensions(source.config, found.candidates[0].source.config)
            found.candidates[place] = candidate
    _ask_engine(found, merging.engine)
    _compare(found, merging)
    return found


def _ask_engine(found: Examination, engine: EngineLimits | None) -> None:
    """Add what the engine refuses of the foundation models; the base is not scored."""
    if engine is None:
        return
    for place, source in found.sources.items():
        candidate = found.candidates.get(place)
        weights = candidate.weights.values() if candidate is not None else ()
        size = sum(tensor.rows * tensor.row_size * tensor.item_size for tensor in weights)
        for message, remedy in engine.faults(source.config, size or None) if place else ():
            found.faults.add(source.model, message, remedy)


def _seen(
    source: Source, options: MergeOptions, hub: Hub, found: Examination
) -> ReadableModel | None:
    """A model with its tensors; None if they are unknown without a download."""
    files, base = weight_files(source, options), found.candidates.get(0)
    if source.lora is None and is_pickled(files):
        found.warnings.append(Finding("warning", source.model.short_name, _PICKLED))
        found.pickled[source.model.short_name] = source.size_of(files)
    if source.lora is not None and base is None:
        return None
    missing = source.listing.missing(files) if source.listing is not None else {}
    found.to_fetch[source.model.short_name] = sum(missing.values())
    if source.listing is None or not missing:
        return judge(source, options, base)
    if is_pickled(files) or files == [ADAPTER_PICKLE]:
        return None
    try:
        remote = hub.tensors(source.listing, files).items()
    except UnreachableError:
        return None
    # Without the places of the data.
    tensors = {n: StoredTensor(n, each.dtype, each.shape, Path(n), 0, 0) for n, each in remote}
    if source.lora is not None and base is not None:
        return adapter_over(source, tensors, base)
    return readable_model(source, tensors)


def _compare(found: Examination, merging: Merging) -> None:
    """Warn about differences in tokens, templates, dtypes and tied embeddings."""
    found.warnings += _renamed(found)
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
    found.warnings += [
        *_templates(found, merging),
        *_dtypes(found, merging),
        *_ties(found),
        *_settings(found),
    ]


def _renamed(found: Examination) -> Iterator[Finding]:
    for source in found.sources.values():
        new = source.listing and source.listing.renamed
        if new:
            message = f"{source.model.source} is called {new} on the hub now"
            yield Finding("warning", source.model.short_name, message, "write that name instead")


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


def _settings(found: Examination) -> Iterator[Finding]:
    """Settings of a config that change what the same weights compute."""
    base = computing_settings(found.sources[0].config)
    for place, source in found.sources.items():
        own = computing_settings(source.config)
        keys = [key for key in {**base, **own} if own.get(key) != base.get(key)]
        if place and keys:
            told = ", ".join(f"{key} {own.get(key)} ({base.get(key)})" for key in keys)
            message = f"its config differs from the base model's: {told}"
            remedy = "a child takes its first parent's; compare their scores, or merge models alike"
            yield Finding("warning", source.model.short_name, message, remedy)


def summary(found: Examination) -> Finding | None:
    """One line for compatible models; None if they are not compatible."""
    if found.faults.found or not found.candidates:
        return None
    base = found.candidates.get(0) or next(iter(found.candidates.values()))
    return Finding("fine", "models", f"{len(found.sources)} that fit together: {described(base)}")
