"""What models say of themselves, for a config to start from: small files and headers only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from evomerge.adapters.foundation import Examination, Merging, examine
from evomerge.adapters.foundation.card import base_of_card
from evomerge.adapters.foundation.examination import main_dtype
from evomerge.adapters.foundation.faults import Faults
from evomerge.adapters.foundation.source import Source, find
from evomerge.adapters.foundation.tokens import compare_tokens, read_tokens
from evomerge.adapters.hub import Hub
from evomerge.config import MergeOptions, ModelConfig
from evomerge.domain.errors import UsageError
from evomerge.domain.finding import Finding

_DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
_UNITS = ((1e9, "B"), (1e6, "M"))
_PICKLES = MergeOptions(allow_pickle=True)  # they are only looked at


@dataclass(frozen=True)
class KnownModels:
    """The base and the foundation models as their small files and headers tell them.

    Attributes:
        bases: for each foundation model by name, what it says it was made from; empty if the base
            was given.
    """

    found: Examination
    bases: dict[str, str | None]

    @property
    def sources(self) -> list[Source]:
        """The base, then the foundation models."""
        return [self.found.sources[place] for place in sorted(self.found.sources)]

    @property
    def warnings(self) -> list[Finding]:
        """What the user should know beside the config."""
        return [*self.found.warnings, *self.found.adapters]

    def dtype(self, place: int) -> str | None:
        """Of most weights, from their headers, or else from the config; None if neither tells."""
        candidate, config = self.found.candidates.get(place), self.found.sources[place].config
        if candidate is not None and candidate.weights:
            return _DTYPES.get(main_dtype(candidate))
        told = str(config.get("dtype") or config.get("torch_dtype"))
        return told if told in _DTYPES.values() else None

    @cached_property
    def dtypes(self) -> set[str | None]:
        """The dtypes of all models."""
        return {self.dtype(place) for place in self.found.sources}

    @cached_property
    def rows(self) -> list[int]:
        """The sizes of the vocabularies, the base's first."""
        return [each.vocabulary for each in self.found.provisional()]

    @cached_property
    def other_tokens(self) -> list[str]:
        """The foundation models whose rows stand for other tokens than the base's."""
        base, *others = self.sources
        tokens = read_tokens(base.tokenizer)
        found = [
            compare_tokens(each.model.short_name, read_tokens(each.tokenizer), tokens, "auto")
            for each in others
        ]
        return [each.subject for each in found if each is not None and each.severity == "problem"]

    @property
    def one_vocabulary(self) -> bool:
        """Whether every row stands for the same token in all models."""
        return len(set(self.rows)) == 1 and not self.other_tokens

    @property
    def has_experts(self) -> bool:
        """Whether the architecture is a mixture of experts."""
        return any("expert" in key for key in self.sources[0].config)

    def told(self, place: int) -> str:
        """A model in a few words: parameters, dtype, tokens, kind."""
        source, candidate = self.found.sources[place], self.found.candidates.get(place)
        weights = candidate.weights.values() if candidate is not None else ()
        count = sum(each.rows * each.row_size for each in weights)
        size = next((f"{count / n:.3g} {unit}" for n, unit in _UNITS if count >= n), f"{count:,}")
        lora = source.lora
        return ", ".join(
            [
                *([f"{lora.method} adapter of rank {lora.rank or 'several'}"] if lora else []),
                f"{size} parameters" if count else "size not known without its headers",
                self.dtype(place) or "dtype not known",
                f"{self.rows[place]:,} tokens",
            ]
        )


def look_at(models: Sequence[str], base: str | None, hub: Hub) -> KnownModels:
    """The facts of models, hub ids or folders; no weights are downloaded.

    Args:
        base: of all of them; None for what their cards name.

    Raises:
        UsageError: a name is none, there are fewer than two, or the cards name no common base.
        PreflightError: models are missing, or do not fit together; it lists all of them.
        StoppedError: the hub does not answer any more.
    """
    if len(models) < 2:
        raise UsageError("evolution starts from two models or more", "name another one in --from")
    configs = _told_apart([_model(each) for each in models])
    bases: dict[str, str | None] = {}
    if base is None:
        faults = Faults()
        for model in configs:
            with faults.of(model):
                source = find(model, _PICKLES, hub, tokenizer=False)
                bases[model.short_name] = base_of_card(source, hub)
        faults.raise_any()
    first = _model(base or _common(bases))
    found = examine([first, *configs], _PICKLES, Merging(), {}, hub)
    found.faults.raise_any()
    return KnownModels(found, bases)


def _model(text: str) -> ModelConfig:
    try:
        return ModelConfig(model=text)
    except ValidationError as error:
        told = error.errors()[0]
        faults = told.get("ctx", {}).get("faults")
        raise UsageError(faults[0][1] if faults else f"{text!r}: {told['msg']}") from None


def _told_apart(models: Sequence[ModelConfig]) -> list[ModelConfig]:
    """The models, with a name of their folder's or owner's too where names are the same."""
    names = [model.short_name.lower() for model in models]
    return [
        ModelConfig(model=model.model, name=_longer_name(model))
        if names.count(model.short_name.lower()) > 1
        else model
        for model in models
    ]


def _longer_name(model: ModelConfig) -> str:
    return "-".join(Path(model.source).parts[-2:]).lstrip("./~-")[:64]


def _common(bases: dict[str, str | None]) -> str:
    named = {base for base in bases.values() if base is not None}
    if len(named) == 1:
        return named.pop()
    remedy = "add --base ORG/NAME, the model that all of them were fine-tuned from"
    if not named:
        raise UsageError("no model says which base it was fine-tuned from", remedy)
    told = ", ".join(f"{name} {base}" for name, base in bases.items() if base is not None)
    raise UsageError(f"their cards name different base models: {told}", remedy)
