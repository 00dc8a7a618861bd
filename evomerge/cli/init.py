"""`evomerge init`: write a commented config to start from."""

from __future__ import annotations

from pathlib import Path

import click

from evomerge.domain.errors import UsageError

_TEMPLATE = """\
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
@STRATEGY  # every strategy has options of its own: `evomerge schema --markdown` lists them

merge:
@MERGE  dtype: bfloat16  # of the merged weights

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
@GUARD  final_tasks: []  # further tasks in the format of `tasks`, scored only at the end
  batch_size: 8  # fixed, since another batch size can change a score
  dtype: bfloat16  # of the model during evaluation

stopping:  # checked after each generation; the first criterion that is met ends the run
@STOPPING
execution:
  devices: [auto]  # one evaluation worker per device: cpu, cuda:0, cuda:1; auto: all GPUs

retention: pool  # whose weights stay on disk: all, pool (possible parents), best
"""


_AIMS = {
    "best": {
        "@STRATEGY": """\
  # The best model: all foundation models merged at once, with weights found by Bayesian
  # optimisation. For the paper's experiment: `evomerge init --aim paper`
  name: coefficient_search
""",
        "@MERGE": """\
  # Keeps the skills of all parents. Better still where all have one vocabulary: regmean_pp, which
  # learns from some items of the tasks (evaluation.split.calibration: 64, with more items a task).
  method: wudi  # also slerp, linear, task_arithmetic, ties …
  parameters:
    epsilon: 0.3  # ridge; the strategy chooses the weights
  options: {device: auto}  # merges on the GPU, if there is one
""",
        "@GUARD": """\
  guard: default  # perplexity on a plain text beside the scores: does a child lose language?
""",
        "@STOPPING": """\
  - max_evaluations: 20  # including those of the foundation models
""",
    },
    "paper": {
        "@STRATEGY": """\
  # The paper's experiment: one extra merge a generation with a distant model; greedy: without it.
  # For the best model: `evomerge init --aim best`
  name: kinship
  k: 3  # the best k models breed; at most k greedy merges a generation
""",
        "@MERGE": """\
  method: slerp  # also linear, task_arithmetic, ties, dare_ties, dare_linear, della, wudi …
  parameters:
    t: 0.5  # from 0 (the better-scoring parent) to 1 (the other one)
""",
        "@GUARD": "",
        "@STOPPING": """\
  - no_improvement: {patience: 2}  # no better score for two generations
  - max_generations: 10  # upper limit
""",
    },
}


def template(aim: str) -> str:
    """The text of a config for an aim: `best` or `paper`."""
    text = _TEMPLATE
    for place, section in _AIMS[aim].items():
        text = text.replace(place, section)
    return text


@click.command("init")
@click.argument("path", type=click.Path(path_type=Path), default=Path("evomerge.yaml"))
@click.option("--aim", type=click.Choice(list(_AIMS)), default="best", show_default=True,
              help="The best model for its budget, or the paper's experiment.")  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite a file that exists.")
def command(path: Path, aim: str, force: bool) -> None:
    """Write a commented config to start from (default: evomerge.yaml)."""
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(template(aim))
    except FileExistsError as error:
        raise UsageError(f"{path} exists", "choose another name, or pass --force") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    click.echo(f"wrote {path}; check it with `evomerge validate {path}`")
