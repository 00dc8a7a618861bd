"""The child process that does lm-eval's work; it lives as long as the run.

Imports, task loading, request building and tokenization are done once. Between models nothing
but the weights changes, and every random state is set anew, so that a score never depends on
what was scored before.
"""

from __future__ import annotations

import gc
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lm_eval
import torch

from evomerge.adapters.hub_errors import bound_waiting
from evomerge.adapters.lm_eval.backends import (
    ExpectedNames,
    Placement,
    backend_problems,
    free_memory,
    loaded_model,
    refuse_non_finite,
)
from evomerge.adapters.lm_eval.calibration import calibration_id, examples, write_items
from evomerge.adapters.lm_eval.data import DataSets, description, seed_everything
from evomerge.adapters.lm_eval.engine_log import log_end, real_reason
from evomerge.adapters.lm_eval.form import read_form, tokenizer_fingerprint
from evomerge.adapters.lm_eval.identity import evaluation_id
from evomerge.adapters.lm_eval.kept_engine import KeptEngine
from evomerge.adapters.lm_eval.metrics import one_line
from evomerge.adapters.lm_eval.perplexity import perplexity
from evomerge.adapters.lm_eval.probe import batch_size
from evomerge.adapters.lm_eval.requests import compile_templates_once
from evomerge.adapters.lm_eval.results import task_scores, warnings, write_backend, write_samples
from evomerge.adapters.lm_eval.secrets import redacted
from evomerge.adapters.lm_eval.suite import LoadedTask, Part, Suite
from evomerge.adapters.lm_eval.tasks import DataSetTroubleError, load_suites
from evomerge.adapters.lm_eval.vllm_engine import VllmEngine, engine_arguments
from evomerge.adapters.lm_eval.watch import TokenMemory, Watch
from evomerge.adapters.serve import Do
from evomerge.config import EvaluationConfig
from evomerge.domain.errors import CandidateError, PreflightError
from evomerge.domain.identity import canonical_json
from evomerge.domain.scores import EvaluationWarning, Split
from evomerge.execution.calibration import ANCHOR
from evomerge.ports import Operation, Progress

# Metrics without a closed form are resampled this often; lm-eval's 100,000 takes minutes for each.
_BOOTSTRAPS = 1000
_COMPARED = 2  # texts of a task
_OF_AN_OPERATION = frozenset({"split", "data_sets", "anchor", "examples"})
"""Arguments that do not change the tasks."""


class _Session:
    """The tasks of one evaluation with everything that is kept between models.

    Attributes:
        ids: the evaluation id of each split of the items.
        calibration: the content id of the items that merge rules see; None if there are none.
        data_sets: the hub commits of the data sets that were loaded, by name.

    Args:
        asked: the arguments of `describe` and `score`: `evaluation` (an EvaluationConfig as JSON),
            `trust_remote_code`, `allow_pickle`, `merges_on_gpu`, `data_sets` (commits to use).
    """

    def __init__(self, asked: Mapping[str, Any], device: str) -> None:
        config = EvaluationConfig.model_validate(asked["evaluation"])
        data_sets = DataSets(asked.get("data_sets", {}))
        problems = backend_problems(config, device)
        try:
            suites = load_suites(config, data_sets)
        except PreflightError as error:
            raise PreflightError("\n".join([*problems, error.message])) from None
        if problems:
            raise PreflightError("\n".join(problems))
        trusted = bool(asked["trust_remote_code"])
        code = {"trust_remote_code": True} if trusted else {}
        self.config = config
        self.suites: dict[Part, Suite] = suites
        self.data_sets = data_sets.commits
        self.place = Placement(
            device, trusted, bool(asked["allow_pickle"]), bool(asked.get("merges_on_gpu"))
        )
        self.tokens = TokenMemory()
        splits: tuple[Split, ...] = ("selection", *config.held_out_splits)
        self.ids = {
            split: evaluation_id(config, {**description(suites[split]), **code}, split)
            for split in splits
        }
        seen = suites.get("calibration")
        self.calibration = None if seen is None else calibration_id(seen)


class _Scorer:
    """Describes evaluations and scores models on one device."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._key = ""
        self._session: _Session | None = None
        self._engine = KeptEngine(VllmEngine)
        self._names = ExpectedNames()

    def describe(self, operation: Operation, progress: Progress) -> dict[str, Any]:
        """Load and check the tasks; the answer is an `Evaluation` as JSON.

        With `examples` it has so many prompts and targets of each task of the selection too.

        Raises:
            PreflightError: every task, metric, filter, item or device that cannot be used, a line
                each, with its key of the config.
        """
        try:
            session = self._of(operation)
        except DataSetTroubleError as error:
            return {"trouble": error.met._asdict(), "task": error.task}
        count = operation.arguments.get("examples", 0)
        counted = {split: [*map(_counted, session.suites[split].entries)] for split in session.ids}
        return {
            "ids": session.ids,
            "counted": counted,
            "data_sets": session.data_sets,
            "calibration": session.calibration,
            **({"examples": [*examples(session.suites["selection"], count)]} if count else {}),
        }

    def calibrate(self, operation: Operation, progress: Progress) -> dict[str, Any]:
        """Write the prompts and right answers of the calibration's items, and the `anchor`.

        The chat template is that of `model`.

        Returns:
            The `calibration` of `describe`.

        Raises:
            CandidateError: an item has no text.
        """
        session = self._of(operation)
        suite, anchor = session.suites["calibration"], operation.arguments["anchor"]
        write_items(
            suite, operation.inputs["model"], session.place.trust_remote_code, operation.output
        )
        if anchor is not None:
            (operation.output / ANCHOR).write_text(anchor, encoding="utf-8")
        return {"calibration": session.calibration}

    def score(self, operation: Operation, progress: Progress) -> dict[str, Any]:
        """Score `model` on `split` of the items; progress counts requests.

        Writes `samples_<task>.jsonl` and `backend.json` (see `results`) and, if there are any,
        `warnings.json` (a list of `EvaluationWarning`).

        Returns:
            `evaluation_id`, and `tasks`: a TaskScore for each metric, those that count first in
            the order of the config; with a guard and on the selection split `perplexity`.

        Raises:
            CandidateError: the model cannot be loaded or scored, or a number is not finite.
            PreflightError: the tasks cannot be loaded (any more).
        """
        session, split = self._of(operation), operation.arguments["split"]
        written = log_end()
        try:
            with self._loaded(session, session.suites[split], operation.inputs["model"]) as lm:
                scores = _scored(
                    lm, session, session.suites[split], operation, progress, self._engine.told()
                )
        except CandidateError:
            raise
        except torch.OutOfMemoryError as error:
            raise CandidateError(
                f"out of memory on {self._device}: {_safe(error, session.config)}",
                "a smaller evaluation.batch_size or evaluation.max_length takes less",
            ) from None
        except Exception as error:  # model files and task code raise anything
            reason = real_reason(one_line(error), written)
            raise CandidateError(redacted(reason, session.config.model_args)) from None
        finally:
            free_memory()
        gc.freeze()  # what the first model made libraries import stays too
        return {"evaluation_id": session.ids[split], **scores}

    def probe(self, operation: Operation, progress: Progress) -> dict[str, Any]:
        """Choose the batch size by the memory that `model` and the longest requests take.

        Raises:
            CandidateError: the model cannot be loaded.
        """
        session = self._of(operation)
        config = session.config.model_copy(update={"batch_size": 1})
        try:
            with loaded_model(config, operation.inputs["model"], session.place) as lm:
                return {"batch_size": batch_size(lm, session.suites["selection"])}
        except Exception as error:  # model files and task code raise anything
            raise CandidateError(_safe(error, session.config)) from None
        finally:
            free_memory()

    @contextmanager
    def _loaded(self, session: _Session, suite: Suite, model: Path) -> Iterator[Any]:
        """lm-eval's model object of `model`, whose files were looked at."""
        config, place = session.config, session.place
        form = read_form(model, config.dtype)
        if form is not None and (missing := self._names.missing(model, form, place)):
            few = ", ".join(missing[:3])
            raise CandidateError(f"{len(missing)} tensors are missing in its weight files: {few}")
        if config.backend == "vllm":
            arguments, texts = engine_arguments(config, place), _texts(suite)
            with self._engine.holding(model, form, arguments, texts) as lm:
                yield lm
            return
        with loaded_model(config, model, place) as lm:
            if form is None and isinstance(getattr(lm, "model", None), torch.nn.Module):
                refuse_non_finite(lm.model)
            yield lm

    def _of(self, operation: Operation) -> _Session:
        """The session of the operation's evaluation; a new one takes the place of the old."""
        asked = operation.arguments
        wanted = asked.get("data_sets", {}).items()
        key = canonical_json({k: v for k, v in asked.items() if k not in _OF_AN_OPERATION})
        known = self._session.data_sets.items() if self._session else ()
        if self._session is None or self._key != key or not wanted <= known:
            os.environ.setdefault("DISABLE_MULTIPROC", "1")  # lm-eval forks to resample
            compile_templates_once()
            logging.getLogger("lm_eval.models.huggingface").addFilter(_not_about_cutting)
            self._session = None
            self._key, self._session = key, _Session(asked, self._device)
            gc.collect()
            gc.freeze()  # so that freeing a model need not look at what stays
        return self._session


def operations(device: str) -> dict[str, Do]:
    """What this module does on a device."""
    bound_waiting()
    scorer = _Scorer(device)
    return {
        "describe": scorer.describe,
        "probe": scorer.probe,
        "calibrate": scorer.calibrate,
        "score": scorer.score,
    }


def _counted(entry: LoadedTask) -> dict[str, Any]:
    metric, _, chosen = entry.result_key.partition(",")
    weight = entry.config.weight
    return {"task": entry.config.name, "metric": metric, "filter": chosen, "weight": weight}


def _texts(suite: Suite) -> list[str]:
    """Some of what the tasks ask, for a first look at what a model answers."""
    asked = [request for task in suite.tasks.values() for request in task.instances[:_COMPARED]]
    return ["".join(part for part in each.args if isinstance(part, str)) for each in asked]


def _scored(
    lm: Any,
    session: _Session,
    suite: Suite,
    operation: Operation,
    progress: Progress,
    told: Iterable[EvaluationWarning],
) -> dict[str, Any]:
    config, model, into = suite.config, operation.inputs["model"], operation.output
    fingerprint = tokenizer_fingerprint(model)
    for requests in suite.requests.values():
        requests.template = fingerprint if config.chat_template else None
    seed_everything(config.seed)
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
    measured = {} if suite.guard is None else {"perplexity": perplexity(lm, suite.guard)}
    window = int(getattr(lm, "max_length", 0))
    write_backend(lm, config, into)
    scores = [score for entry in suite.entries for score in task_scores(entry, results)]
    write_samples(results["samples"], into)
    everything = [*warnings(suite, watch, window), *told]
    if said := [each.model_dump(mode="json") for each in everything]:
        text = json.dumps(said, ensure_ascii=False, indent=1)
        (into / "warnings.json").write_text(text + "\n", encoding="utf-8")
    return {"tasks": scores, **measured}


def _not_about_cutting(record: logging.LogRecord) -> bool:
    """lm-eval logs a line for each prompt that it cuts; `warnings` holds their number."""
    return not str(record.msg).startswith("Combined length of context")


def _safe(error: Exception, config: EvaluationConfig) -> str:
    return redacted(one_line(error), config.model_args)
