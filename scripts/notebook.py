# %% [markdown]
# # evomerge from Python
#
# The tiny models of `./scripts/quickstart` are evolved here, in about half a minute. Open this file
# as a notebook (Jupytext, VS Code, PyCharm), or run it: `python scripts/notebook.py`.

# %%
from pathlib import Path

import altair as alt

import evomerge
from evomerge.domain.model import MergeKind
from evomerge.strategies.steps import propose_merge
from evomerge.strategies.strategy import Strategy

# %% [markdown]
# ## A run
# A config is a file or a dictionary. The call resumes a run of that name, or returns it if it is
# finished.

# %%
MODELS = Path("runs/tiny/models")
SMALL = {
    "foundation_models": [str(MODELS / name) for name in ("reverse", "sort", "increment")],
    "strategy.k": 2,
    **{f"evaluation.tasks.{number}.limit": 40 for number in range(5)},
    "stopping": [{"max_generations": 1}],
    "execution.report": False,
}


def told(event, state):
    """Called with every event; an error in here would be told and harm nothing."""
    if event.type == "model_scored":
        print(f"{event.model:12} {state.models[event.model].score:5.1f}")


run = evomerge.run(
    "configs/tiny.yaml", overrides={"run.name": "notebook", **SMALL}, callbacks=[told]
)
print(run)

# %% [markdown]
# ## What it found, as data frames

# %%
models = run.models()
print(models.sort_values("score", ascending=False)[["model", "parents", "score", "gain"]])

# %%
print(run.generations()[["generation", "best", "score", "pool"]])

# %%
print(run.kinship().round(2))

# %% [markdown]
# Item by item: what the best model answers otherwise than one of its parents.

# %%
best = run.best
changes = run.compare(best.name, best.parents[0])
print(changes["change"].value_counts())
print(changes[changes["change"] == "lost"][["task", "prompt", "target", best.name]].head())

# %% [markdown]
# ## A plot of one's own, and those of the report

# %%
skills = [name for name in models.columns if name.endswith(" kept")]
shares = models.melt("model", skills, "task", "share of the best specialist")
bars = (
    alt.Chart(shares)
    .mark_bar()
    .encode(x="model", y="share of the best specialist", xOffset="task", color="task")
)
bars.save(run.path / "skills.png")

# %%
curve = run.plot.best_so_far()  # shows itself when it is the last line of a cell
curve.save(run.path / "best.svg")

# %% [markdown]
# ## A strategy of one's own
# Every merge is one of the best model with another one. Options are fields; see
# `evomerge/strategies/README.md`.


# %%
CHAMPION = MergeKind(name="champion", label="merge with the champion", colour="sky")


class Champion(Strategy):
    """The best model with the next best ones that it was not merged with."""

    kinds = (CHAMPION,)
    partners: int = 2

    def propose(self, state, kinship, rng):
        """The merges of a generation."""
        champion, *others = state.ranking
        untried = [each for each in others if not state.tried(champion.name, each.name)]
        return tuple(
            propose_merge(CHAMPION, (champion, each), f"{each.name} joins {champion.name}")
            for each in untried[: self.partners]
        )

    def most_children(self, foundation):
        """As many as there are partners."""
        return self.partners


mine = evomerge.run(
    "configs/tiny.yaml",
    overrides={
        "run.name": "notebook-champion",
        **SMALL,
        "strategy": {"name": f"{__name__}:Champion", "partners": 2},
    },
    progress=False,
)
print(mine.models()[["model", "parents", "score", "reused", "reason"]])

# %% [markdown]
# Both share a store: what one merged and scored, the other one reused.

# %%
comparison = evomerge.compare([run, mine])
for arm in comparison.arms:
    print(f"{arm.label}: {arm.score.median:.1f}")
