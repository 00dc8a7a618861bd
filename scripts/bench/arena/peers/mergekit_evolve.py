"""Runs mergekit-evolve on a fixture, in its own environment: `mergekit_evolve.py search.json`.

The search is mergekit's own command; `patch` is all that is changed, in every process of it.
`README.md` says why.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
import types
from pathlib import Path
from typing import Any

import yaml

KEPT = "ARENA_MERGED"
"""Environment variable: the folder that holds the merged model of the last evaluation."""


def patch() -> None:
    """Let mergekit.evo run on a CPU, merge and score in float32; keep the merged model.

    Runs in this process and, by Ray's hook, in every worker before its first task.
    """
    stub: Any = types.ModuleType("lm_eval.models.vllm_causallms")
    stub.VLLM = type("VLLM", (), {})
    models: Any = importlib.import_module("lm_eval.models")
    sys.modules[stub.__name__] = models.vllm_causallms = stub

    import shutil

    import torch
    from mergekit.evo import genome, helpers
    from record import AS_PUBLISHED, skip_environment_report

    if AS_PUBLISHED not in os.environ:
        skip_environment_report()

    torch.cpu.empty_cache = lambda: None

    evaluate = helpers._eval_model  # noqa: SLF001
    configure = genome.ModelGenome.genotype_merge_config

    def evaluate_in_float32(model: Any, tasks: Any, model_args: Any = None, **options: Any) -> Any:
        kept = Path(os.environ[KEPT])
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(model_args["pretrained"], kept)
        return evaluate(model, tasks, model_args | {"dtype": "float32"}, device="cpu", **options)

    def configure_in_float32(self: Any, genotype: Any) -> Any:
        return configure(self, genotype).model_copy(update={"dtype": "float32"})

    helpers._eval_model = evaluate_in_float32  # noqa: SLF001
    genome.ModelGenome.genotype_merge_config = configure_in_float32


def main() -> None:
    """Write mergekit-evolve's config, start Ray with one pretended GPU, run the command."""
    from record import BudgetSpentError, Record, Search

    search = Search.read(Path(sys.argv[1]))
    os.chdir(search.folder)
    os.environ[KEPT] = str(search.folder / "merged")
    patch()
    import cma
    import ray
    from mergekit.evo.strategy import ActorPoolEvaluationStrategy
    from mergekit.scripts import evolve

    record = Record(search)
    together = ActorPoolEvaluationStrategy.evaluate_genotypes
    minimise = cma.fmin2

    def one_by_one(self: Any, genotypes: Any) -> list[Any]:
        found = []
        for genotype in genotypes:
            started = time.monotonic()
            [result] = together(self, [genotype])
            scores = result["results"] and {
                task.name: result["results"][task.name][f"{task.metric},none"]
                for task in search.tasks
            }
            recipe = self.genome.genotype_merge_config(genotype).to_yaml()
            spent = time.monotonic() - started
            record.add(scores, Path(os.environ[KEPT]), spent, recipe=recipe)
            found.append(result)
        return found

    def seeded(*arguments: Any, options: dict[str, Any], **others: Any) -> Any:
        return minimise(*arguments, options={**options, "seed": search.seed + 1}, **others)

    ActorPoolEvaluationStrategy.evaluate_genotypes = one_by_one
    cma.fmin2 = seeded
    config = {
        "genome": {
            "models": [str(model) for model in search.models],
            "base_model": str(search.base),
            **search.settings,
        },
        "tasks": [
            {"name": task.name, "metric": f"{task.metric},none", "weight": 1 / len(search.tasks)}
            for task in search.tasks
        ],
        "apply_chat_template": False,
        "fewshot_as_multiturn": False,
    }
    Path("evolve.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    ray.init(
        num_cpus=1,
        num_gpus=1,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        object_store_memory=100_000_000,
        runtime_env={"worker_process_setup_hook": "mergekit_evolve.patch"},
    )
    try:
        evolve.main.main(
            [
                "evolve.yaml",
                *("--storage-path", "storage"),
                *("--max-fevals", str(search.evaluations)),
                *("--num-gpus", "1"),
                *("--random-seed", str(search.seed)),
                *("--batch-size", str(search.batch_size)),
                *("--task-search-path", str(search.tasks_folder)),
                *("--no-merge-cuda", "--no-save-final-model", "--no-reshard"),
            ],
            standalone_mode=False,
        )
    except BudgetSpentError:
        pass
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
