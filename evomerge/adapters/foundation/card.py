"""What a model's card says it was made from."""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from evomerge.adapters.foundation.source import CARD, Source
from evomerge.adapters.hub import Hub
from evomerge.domain.errors import PreflightError

_LARGEST = 1_000_000


def base_of_card(source: Source, hub: Hub) -> str | None:
    """The one model that this one was made from, by its card; of an adapter by its config first.

    None without a card, and where the card names several models or none.

    Raises:
        StoppedError: the hub does not answer any more.
    """
    if source.lora is not None and source.lora.base:
        return source.lora.base
    named = _front_matter(source, hub).get("base_model")
    several = named if isinstance(named, list) else [named]
    return several[0].strip() if len(several) == 1 and isinstance(several[0], str) else None


def _front_matter(source: Source, hub: Hub) -> Mapping[str, object]:
    """The YAML between the two `---` at the beginning of the card; empty where it is no YAML."""
    listing = source.listing
    if listing is not None and CARD in listing.files:
        try:
            hub.fetch(source.model.short_name, listing, [CARD])
        except PreflightError:
            return {}
    try:
        text = (source.folder / CARD).read_text(encoding="utf-8")[:_LARGEST]
        begun, block, *_ = text.split("---\n", 2)
        found = yaml.safe_load(block) if not begun.strip() else None
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}
