"""Runs mergenetic on a fixture, in its own environment: `mergenetic_search.py search.json`.

Searcher, merger, evaluator and pymoo's algorithms are mergenetic's and pymoo's own; `patch` is all
that is changed. `README.md` says why.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
import types
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any


def patch(batch_size: int, seed: int, tasks_folder: str) -> None:
    """Stand in for fasttext and vLLM, index lm-eval's tasks once, seed the merges."""
    import lm_eval.models
    from lm_eval.models.huggingface import HFLM
    from record import AS_PUBLISHED, skip_environment_report

    class OnCpu(HFLM):  # type: ignore[misc]  # no types here
        def __init__(self, pretrained: str, **_: Any) -> None:
            super().__init__(
                pretrained=pretrained, device="cpu", dtype="float32", batch_size=batch_size
            )

    stub: Any = types.ModuleType("lm_eval.models.vllm_causallms")
    stub.VLLM = OnCpu
    models: Any = lm_eval.models
    sys.modules[stub.__name__] = models.vllm_causallms = stub
    sys.modules["fasttext"] = types.ModuleType("fasttext")

    merger: Any = importlib.import_module("mergenetic.merging.merger")
    merger.MergeOptions = partial(merger.MergeOptions, random_seed=seed)
    if AS_PUBLISHED not in os.environ:
        skip_environment_report()
        harness: Any = importlib.import_module("mergenetic.evaluation.lm_harness")
        harness.TaskManager = cache(harness.TaskManager)
        index = harness.TaskManager(include_path=tasks_folder)
        harness.simple_evaluate = partial(harness.simple_evaluate, task_manager=index)


def main() -> None:
    """Build the problem as mergenetic's own end-to-end script does, and search."""
    from record import BudgetSpentError, Record, Search

    search = Search.read(Path(sys.argv[1]))
    os.chdir(search.folder)
    patch(search.batch_size, search.seed, str(search.tasks_folder))
    from mergenetic.evaluation.lm_harness import LmHarnessEvaluator
    from mergenetic.optimization import MergingProblem
    from mergenetic.searcher import Searcher

    record = Record(search)

    class MeanOfTasks(MergingProblem):  # type: ignore[misc]  # no types here
        """Minimises minus the mean score; mergenetic's own such problem knows a single task."""

        def _evaluate(self, x: Any, out: Any, *args: Any, **options: Any) -> None:
            self.started = time.monotonic()
            super()._evaluate(x, out, *args, **options)

        def metrics_4_genotype(self, model: Any, tokenizer: Any = None) -> tuple[list[float], str]:
            scores = {}
            for task in search.tasks:
                evaluator = LmHarnessEvaluator(
                    task_name=task.name,
                    correctness_metric=task.metric,
                    sample_ids=list(range(search.items)),
                    additional_templates_folder=str(search.tasks_folder),
                    batch_size=search.batch_size,
                )
                scores[task.name] = float(evaluator.evaluate(model).mean())
            spent = time.monotonic() - self.started
            recipe = self.merger.path_to_store_yaml.read_text(encoding="utf-8")
            record.add(scores, self.merger.path_to_store_merged_model, spent, recipe=recipe)
            return [-sum(scores.values()) / len(scores)], ""

        def test(self) -> None:
            """The arena scores the winner."""

    genetic = search.settings["algorithm"] == "ga"
    merger, genes = _merger(search)
    problem = MeanOfTasks(
        merger,
        search_df=None,
        n_var=genes,
        n_obj=1,
        device="cpu",
        load_in_4bit=False,
        use_lm_eval=True,
        discrete=genetic,
        eval_batch_size=search.batch_size,
    )
    searcher = Searcher(
        problem, _algorithm(genetic), str(search.folder), 10_000, search.seed + 1, "search", False
    )
    with suppress(BudgetSpentError):
        searcher.search()


def _merger(search: Any) -> tuple[Any, int]:
    """The merger of a method and the number of its genes."""
    from mergenetic.merging import TaskArithmeticMerger, TiesDareMerger
    from mergenetic.merging.ties_merger import TiesMerger

    makers = {"task_arithmetic": TaskArithmeticMerger, "ties": TiesMerger,
              "dare_ties": TiesDareMerger}  # fmt: skip
    method = search.settings["merge_method"]
    merger = makers[method](
        run_id="merged",
        path_to_base_model=str(search.base),
        model_paths=[str(model) for model in search.models],
        path_to_store_yaml=str(search.folder),
        path_to_store_merged_model=str(search.folder),
        dtype="float32",
    )
    return merger, len(search.models) * (1 if method == "task_arithmetic" else 2)


def _algorithm(genetic: bool) -> Any:
    """The genetic algorithm of mergenetic's script with its default population, or CMA-ES."""
    if not genetic:
        from pymoo.algorithms.soo.nonconvex.cmaes import CMAES

        return CMAES()
    from pymoo.algorithms.soo.nonconvex.ga import GA
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.sampling.rnd import IntegerRandomSampling

    return GA(
        pop_size=10,
        sampling=IntegerRandomSampling(),
        crossover=SBX(),
        mutation=PM(),
        eliminate_duplicates=True,
    )


if __name__ == "__main__":
    main()
