"""The text of a config to start from: an example, or filled in from what models and tasks say."""

from __future__ import annotations

import re

EXAMPLE_TASKS = ("winogrande", "gsm8k")
"""Tasks of lm-eval's that the example scores on."""

_TEMPLATE = """\
# A config of evomerge. Check it with `evomerge validate FILE`, start it with `evomerge run FILE`.
# Only keys without a default are required; the others show the default or a sensible choice.
# Relative paths start at the current folder.

run:
  name: @NAME  # the folder of this run: runs/@NAME
  dir: runs  # runs in the same folder share merged models and scores
  seed: 0  # seeds every random choice

# The pre-trained model that all foundation models were fine-tuned from.
@BASE
# The fine-tunes that evolution starts from, at least two, of the same architecture: a hub id
# (org/name, or org/name@revision to pin a commit), or a path (./folder, /folder, ~/folder).
foundation_models:
@MODELS
strategy:
@STRATEGY  # every strategy has options of its own: `evomerge schema --markdown` lists them

merge:
@MERGE@DTYPE
kinship:
  metric: pcc  # pcc, cosine or euclidean: similarity of the changes of two models from the base

evaluation:
@TASKS@SPLIT@GUARD@FINAL  batch_size: 8  # fixed, since another batch size can change a score
@EVALUATION
stopping:  # checked after each generation; the first criterion that is met ends the run
@STOPPING
execution:
  devices: [auto]  # one evaluation worker per device: cpu, cuda:0, cuda:1; auto: all GPUs

retention: pool  # whose weights stay on disk: all, pool (possible parents), best
"""

WUDI = """\
  # Keeps the skills of all parents. Better still where all have one vocabulary: regmean_pp, which
  # learns from some items of the tasks (evaluation.split.calibration: 64, with more items a task).
  method: wudi  # also slerp, linear, task_arithmetic, ties …
  parameters:
    epsilon: 0.3  # ridge; the strategy chooses the weights
  options: {device: auto}  # merges on the GPU, if there is one
"""

REGMEAN = """\
  # Learns from some items of the tasks (evaluation.split.calibration) which inputs matter to each
  # parent; all models here have one vocabulary, which it needs. Without data: wudi.
  method: regmean_pp
  options: {device: auto}  # merges on the GPU, if there is one: minutes, on CPUs hours for 7B
"""

_EXAMPLE = {
    "@NAME": "my-run",
    "@BASE": "base_model: mistralai/Mistral-7B-v0.1\n",
    "@MODELS": """\
  - model: meta-math/MetaMath-Mistral-7B
    name: MetaMath  # short name in tables and plots; default: the last part of the id
  - model: mistralai/Mistral-7B-Instruct-v0.2
    name: Instruct
  - model: openchat/openchat-3.5-1210
    name: Open-chat
""",
    "@DTYPE": "  dtype: bfloat16  # of the merged weights\n",
    "@TASKS": """\
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
""",
    "@SPLIT": "  split: {held_out: 0.5}  "
    "# fraction of each task's items held out from the search; or none\n",
    "@FINAL": "  final_tasks: []  "
    "# further tasks in the format of `tasks`, scored only at the end\n",
    "@EVALUATION": "  dtype: bfloat16  # of the model during evaluation\n",
}

_AIMS = {
    "best": {
        "@STRATEGY": """\
  # The best model: all foundation models merged at once, with weights found by Bayesian
  # optimisation. For the paper's experiment: `evomerge init --aim paper`
  name: coefficient_search
""",
        "@MERGE": WUDI,
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

AIMS = tuple(_AIMS)


def template(aim: str, **told: str) -> str:
    """The text of a config for an aim.

    Args:
        aim: `best` or `paper`.
        told: what stands in places of the template, by the place's name in lower case; the others
            have an example, or what the aim recommends. Each ends with a new line, but the name.
    """
    places = {**_EXAMPLE, **_AIMS[aim], **{f"@{key.upper()}": text for key, text in told.items()}}
    return re.sub("|".join(places), lambda found: places[found[0]], _TEMPLATE)
