"""The guard's text, and the perplexity of a loaded model on it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance

from evomerge.adapters.lm_eval.json_values import digest
from evomerge.domain.errors import CandidateError
from evomerge.domain.scores import EvaluationWarning

PACKAGED_TEXT = Path(__file__).with_name("guard.txt")
LONGEST = 16_000
"""Characters of the text that are used, about 4,000 tokens of English."""
_PASSAGE = 2_000
"""Characters of a passage, about 500 tokens of English: what a model sees at a time."""
_OVERFLOW = 700.0  # exp of more nats per token is no float64


@dataclass(frozen=True)
class GuardText:
    """The text on which perplexity is measured.

    Attributes:
        passages: whole paragraphs of at most 2,000 characters together; parts of a longer one.
        cut: whether it was longer than what is used.
    """

    passages: tuple[str, ...]
    cut: bool

    @classmethod
    def of(cls, text: str) -> GuardText:
        """The first 16,000 characters of `text` in passages.

        Raises:
            ValueError: there is no text.
        """
        text = text.strip()
        passages = tuple(_passages(text[:LONGEST]))
        if not passages:
            raise ValueError("there is no text in it")
        return cls(passages, len(text) > LONGEST)

    @property
    def description(self) -> dict[str, Any]:
        """What perplexity depends on besides the model, as JSON."""
        return {"text": digest(self.passages), "characters_at_a_time": _PASSAGE}

    @property
    def warnings(self) -> Iterator[EvaluationWarning]:
        """A warning if the text is cut."""
        if self.cut:
            what = f"perplexity is measured on the first {LONGEST:,} characters of the guard's text"
            yield EvaluationWarning(kind="guard_cut", task="", count=1, total=1, trouble=what)


def read_text(path: Path) -> GuardText:
    """The text of a file.

    Raises:
        ValueError: there is no such file, or no text in it; the message names it.
    """
    try:
        with path.open(encoding="utf-8") as file:
            return GuardText.of(file.read(2 * LONGEST))
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not a text in UTF-8") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def text_of_task(name: str, leaves: Iterable[Any]) -> GuardText:
    """The texts of a loaded task of lm-eval, in order.

    Raises:
        ValueError: it does not ask for the likelihood of texts, or has none.
    """
    texts: list[str] = []
    for leaf in leaves:
        if leaf.OUTPUT_TYPE != "loglikelihood_rolling":
            kind = f"task {name!r} is of the kind {leaf.OUTPUT_TYPE}"
            raise ValueError(f"{kind}, expected loglikelihood_rolling")
        for document in leaf.eval_docs:
            texts.append(str(leaf.doc_to_target(document)).strip())
            if sum(map(len, texts)) > LONGEST:
                break
    try:
        return GuardText.of("\n\n".join(texts))
    except ValueError as error:
        raise ValueError(f"task {name!r}: {error}") from None


def perplexity(lm: Any, text: GuardText) -> dict[str, Any]:
    """Fields of `Perplexity`: exp of the mean negative log-likelihood per token.

    Every passage is an lm-eval request of its own (`loglikelihood_rolling`), after the model's
    prefix token alone: a tokenizer that adds one would have it predicted as part of the text. They
    are asked for one at a time, so that the batch size does not affect them.

    Raises:
        CandidateError: the backend does not tell tokens.
    """
    if not hasattr(lm, "tok_encode"):
        raise CandidateError(f"{type(lm).__name__} has no tok_encode, which perplexity needs")
    encode = lm.tok_encode
    lm.tok_encode = partial(encode, add_special_tokens=False)
    try:
        tokens = sum(len(lm.tok_encode(passage)) for passage in text.passages)
        likelihood = math.fsum(
            lm.loglikelihood_rolling([_request(passage)], disable_tqdm=True)[0]
            for passage in text.passages
        )
    finally:
        lm.tok_encode = encode
    return {"value": math.exp(min(-likelihood / tokens, _OVERFLOW)), "tokens": tokens}


def _request(passage: str) -> Instance:
    return Instance(request_type="loglikelihood_rolling", doc={}, arguments=(passage,), idx=0)


def _passages(text: str) -> Iterator[str]:
    """Consecutive paragraphs, as many as fit into a passage."""
    held = ""
    for paragraph in filter(None, (part.strip() for part in text.split("\n\n"))):
        if held and len(held) + len(paragraph) + 2 > _PASSAGE:
            yield held
            held = ""
        held = f"{held}\n\n{paragraph}" if held else paragraph
        while len(held) > _PASSAGE:
            end = held.rfind(" ", 1, _PASSAGE) if " " in held[1:_PASSAGE] else _PASSAGE
            yield held[:end]
            held = held[end:].lstrip()
    if held:
        yield held
