"""`evomerge init`: write a commented config to start from."""

from __future__ import annotations

from pathlib import Path

import click

from evomerge.domain.errors import UsageError

TEMPLATE = """\
# A config of evomerge. Check it with `evomerge validate FILE`, start it with `evomerge run FILE`.
# Only keys without a default are required; the others show the default or a sensible choice.
# Relative paths start at the current folder.

run:
  name: my-run  # the folder of this run: runs/my-run
  dir: runs  # runs in the same folder share merged models and scores
  seed: 0  # seeds every random choice

# The pre-trained model that all foundation models were fine-tuned from.
base_model: mistralai/Mistral-7B-v0.1

# The fine-tunes that evolution starts from, at least two, of the same architecture: a hub id
# (org/name, or org/name@revision to pin a commit), or a path (./folder, /folder, ~/folder).
foundation_models:
  - model: meta-math/MetaMath-Mistral-7B
    name: MetaMath  # short name in tables and plots; default: the last part of the id
  - model: mistralai/Mistral-7B-Instruct-v0.2
    name: Instruct
  - model: openchat/openchat-3.5-1210
    name: Open-chat

strategy:
  # kinship: one extra merge a generation with a distant model; greedy: without it. For the best
  # model rather than the paper's experiment: coefficient_search, with `merge: {method: wudi}` and
  # `max_evaluations` alone as `stopping`
  name: kinship
  k: 3  # the best k models breed; at most k greedy merges a generation
  # every strategy has options of its own: see configs/REFERENCE.md, or `evomerge schema --markdown`

merge:
  method: ties  # slerp, linear, task_arithmetic, ties, wudi, dare_ties, dare_linear, della …
  parameters:
    weight: 0.5  # of each parent's task vector (its difference from the base)
    density: 0.5  # fraction of each task vector that is kept
  dtype: bfloat16  # of the merged weights

kinship:
  metric: pcc  # pcc, cosine or euclidean: similarity of the changes of two models from the base

evaluation:
  tasks:  # the score of a model is the weighted mean over these lm-eval tasks, 0 to 100
    - name: winogrande
      metric: acc
      fewshot: 5  # examples in the prompt
      limit: 200  # only the first 200 items: quick; delete the line for the whole task
    - name: gsm8k
      metric: exact_match
      filter: strict-match  # lm-eval scores this task under two filters; one must be chosen
      fewshot: 5
      limit: 200
  split: {held_out: 0.5}  # fraction of each task's items held out from the search; or none
  final_tasks: []  # further tasks in the format of `tasks`, scored only at the end
  batch_size: 8  # fixed, since another batch size can change a score
  dtype: bfloat16  # of the model during evaluation

stopping:  # checked after each generation; the first criterion that is met ends the run
  - no_improvement: {patience: 2}  # no better score for two generations
  - max_generations: 10  # upper limit

execution:
  devices: [auto]  # one evaluation worker per device: cpu, cuda:0, cuda:1; auto: all GPUs

retention: pool  # whose weights stay on disk: all, pool (possible parents), best
"""


@click.command("init")
@click.argument("path", type=click.Path(path_type=Path), default=Path("evomerge.yaml"))
@click.option("--force", is_flag=True, help="Overwrite a file that exists.")
def command(path: Path, force: bool) -> None:
    """Write a commented config to start from (default: evomerge.yaml)."""
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(TEMPLATE)
    except FileExistsError as error:
        raise UsageError(f"{path} exists", "choose another name, or pass --force") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    click.echo(f"wrote {path}; check it with `evomerge validate {path}`")
