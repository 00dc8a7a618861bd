"""What merge rules that need data see: some items of the tasks with their answers, and a text.

It is an artefact of the store, `calibration/<content id>`. A worker for evaluations writes it.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from evomerge.config import Config, MergeConfig, RegmeanMerge
from evomerge.domain.calibration import Calibration
from evomerge.domain.errors import PreflightError
from evomerge.domain.identity import content_id
from evomerge.execution.evaluation import Evaluation
from evomerge.store.artefacts import CALIBRATION

ITEMS, ANCHOR = "items.jsonl", "anchor.txt"
"""Files: a JSON object with `task` and `text` in each line; plain text, if there is an anchor."""

_LARGEST = 1_000_000


def anchor_text(merge: MergeConfig) -> str | None:
    """The text that keeps the base's language; None without one.

    Raises:
        PreflightError: the file of the config cannot be read, or is empty or too large.
    """
    if not isinstance(merge, RegmeanMerge) or merge.parameters.anchor == "none":
        return None
    if merge.parameters.anchor == "default":
        return files("evomerge.merge_rules").joinpath(ANCHOR).read_text(encoding="utf-8")
    path = Path(merge.parameters.anchor).expanduser()
    key = f"merge.parameters.anchor: {path}"
    remedy = "give the path of a text file, default, or none"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise PreflightError(f"{key} cannot be read: {error.strerror}", remedy) from None
    except UnicodeDecodeError:
        raise PreflightError(f"{key} is no text in UTF-8", remedy) from None
    if not text.strip() or len(text) > _LARGEST:
        what = "is empty" if not text.strip() else f"has more than {_LARGEST:,} characters"
        raise PreflightError(f"{key} {what}", "a few thousand characters are enough")
    return text


def calibration_of(config: Config, evaluation: Evaluation) -> Calibration | None:
    """What the merges of a run learn from; None if its merge method needs no data.

    Raises:
        PreflightError: as `anchor_text`.
    """
    if not isinstance(config.merge, RegmeanMerge) or evaluation.calibration is None:
        return None
    anchor = anchor_text(config.merge)
    return Calibration(
        content_id=id_of(evaluation.calibration, anchor),
        items=config.evaluation.split.calibration,
        anchored=anchor is not None,
    )


def id_of(items: str, anchor: str | None) -> str:
    """The content id of a calibration from that of its items and its anchor."""
    return content_id(CALIBRATION, 1, {"items": items, "anchor": anchor})
