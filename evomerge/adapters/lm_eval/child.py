"""The child process that does lm-eval's work; it lives as long as the run.

Imports, task loading, request building and tokenization are done once. Between models nothing
but the weights changes, and every random state is set anew, so that a score never depends on
what was scored before.
"""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lm_eval
import torch

from evomerge.adapters.lm_eval.backends import (
    Placement,
    backend_problems,
    free_memory,
    loaded_model,
    tokenizer_fingerprint,
)
from evomerge.adapters.lm_eval.data import description, seed_everything
from evomerge.adapters.lm_eval.metrics import one_line
from evomerge.adapters.lm_eval.requests import compile_templates_once
from evomerge.adapters.lm_eval.results import task_scores, warnings, write_samples
from evomerge.adapters.lm_eval.secrets import redacted
from evomerge.adapters.lm_eval.suite import Suite
from evomerge.adapters.lm_eval.tasks import load_suites
from evomerge.adapters.lm_eval.watch import TokenMemory, Watch
from evomerge.config import EvaluationConfig
from evomerge.domain.errors import CandidateError, PreflightError
from evomerge.domain.identity import canonical_json
from evomerge.domain.scores import Part
from evomerge.ports import Progress

# Metrics without a closed form are resampled this often; lm-eval's 100,000 takes minutes for each.
_BOOTSTRAPS = 1000


class _Session:
    """The tasks of one configuration with everything that is kept between models."""

    def __init__(self, config: EvaluationConfig, place: Placement) -> None:
        problems = backend_problems(config, place.device)
        try:
            suites = load_suites(config)
        except PreflightError as error:
            raise PreflightError("\n".join([*problems, error.message])) from None
        if problems:
            raise PreflightError("\n".join(problems))
        self.config = config
        self.suites: dict[Part, Suite] = suites
        self.place = place
        self.tokens = TokenMemory()
        self.descriptions = {part: description(suite) for part, suite in suites.items()}
        self.counted = {
            part: [entry.result_key for entry in suite.entries] for part, suite in suites.items()
        }


_sessions: dict[str, _Session] = {}


def _session(payload: dict[str, Any]) -> _Session:
    """The session of the payload's config; a new config takes the place of the old."""
    key = canonical_json([payload["evaluation"], payload["place"]])
    if key not in _sessions:
        os.environ.setdefault("DISABLE_MULTIPROC", "1")  # lm-eval forks to resample
        compile_templates_once()
        logging.getLogger("lm_eval.models.huggingface").addFilter(_not_about_cutting)
        _sessions.clear()
        config = EvaluationConfig.model_validate(payload["evaluation"])
        _sessions[key] = _Session(config, Placement(**payload["place"]))
        gc.collect()
        gc.freeze()  # so that freeing a model need not look at what stays
    return _sessions[key]


def describe(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Load and check the tasks.

    Args:
        payload: `evaluation` (an EvaluationConfig as JSON), `place` (a Placement as JSON).

    Returns:
        `descriptions`: see `data.description`, and `counted`: lm-eval's keys of the metrics that
        count, in the order of the tasks; both by part.

    Raises:
        PreflightError: all problems, a line each.
    """
    session = _session(payload)
    return {"descriptions": session.descriptions, "counted": session.counted}


def evaluate(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Score a model, and write sample logs.

    Args:
        payload: as for `describe`, `part`, and `model`, `into`: folders.
        progress: counts requests.

    Returns:
        `description`, `tasks` (a record for each metric, those that count first in the order of
        the config), `warnings` (records of `EvaluationWarning`).

    Raises:
        CandidateError: the model cannot be loaded or scored, or a number is not finite.
        PreflightError: the tasks cannot be loaded (any more).
    """
    session = _session(payload)
    config, part = session.config, payload["part"]
    try:
        scored = _scored(session, payload, progress)
    except CandidateError:
        raise
    except torch.OutOfMemoryError as error:
        raise CandidateError(
            f"out of memory on {session.place.device}: {_safe(error, config)}",
            "a smaller evaluation.batch_size or evaluation.max_length takes less",
        ) from None
    except Exception as error:  # model files and task code raise anything
        raise CandidateError(_safe(error, config)) from None
    finally:
        free_memory()
    gc.freeze()  # what the first model made libraries import stays too
    return {"description": session.descriptions[part], **scored}


def _scored(session: _Session, payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    suite, model = session.suites[payload["part"]], Path(payload["model"])
    config = suite.config
    fingerprint = tokenizer_fingerprint(model)
    for requests in suite.requests.values():
        requests.template = fingerprint if config.chat_template else None
    seed_everything(config.seed)
    with loaded_model(config, model, session.place) as lm:
        if hasattr(lm, "tok_encode"):
            lm.tok_encode = session.tokens.around(lm.tok_encode, fingerprint)
        watch = Watch(lm, suite.tasks, config.seed, progress)
        results = lm_eval.evaluate(
            lm=lm,
            task_dict=suite.task_dict,
            samples=suite.samples or None,
            bootstrap_iters=_BOOTSTRAPS,
            system_instruction=config.system_instruction,
            apply_chat_template=config.chat_template,
            fewshot_as_multiturn=config.chat_template,
            confirm_run_unsafe_code=True,  # what is not allowed was refused before it was loaded
        )
        window = int(getattr(lm, "max_length", 0))
    scores = [score for entry in suite.entries for score in task_scores(entry, results)]
    write_samples(results["samples"], Path(payload["into"]))
    said = [warning.model_dump(mode="json") for warning in warnings(suite, watch, window)]
    return {"tasks": scores, "warnings": said}


def _not_about_cutting(record: logging.LogRecord) -> bool:
    """lm-eval logs a line for each prompt that it cuts; `warnings` holds their number."""
    return not str(record.msg).startswith("Combined length of context")


def _safe(error: Exception, config: EvaluationConfig) -> str:
    return redacted(one_line(error), config.model_args)


OPERATIONS: dict[str, Callable[[dict[str, Any], Progress], dict[str, Any]]] = {
    "describe": describe,
    "evaluate": evaluate,
}
