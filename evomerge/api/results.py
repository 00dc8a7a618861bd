"""A run as an object: what it found, as data frames and figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evomerge.analysis.models import model_rows
from evomerge.api.driving import Callback, driven, extension, resumable
from evomerge.domain.errors import UsageError
from evomerge.domain.kinship import Metric, all_pairs
from evomerge.domain.model import Model
from evomerge.domain.scores import Split
from evomerge.domain.state import Entry, RunState, fold
from evomerge.store.artefacts import Store
from evomerge.store.removal import Removal, removal_of
from evomerge.store.renaming import rename
from evomerge.store.run_directory import RunDirectory
from evomerge.store.samples import NoItemsError
from evomerge.terminal.naming import model_named

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

    from evomerge.views.run import RunView


class Run:
    """One run of a runs folder. It reads the journal when it is asked, so it may be running.

    Scores are in points from 0 to 100. Methods that return tables need pandas.
    """

    def __init__(self, path: Path) -> None:
        self._directory = RunDirectory(path)
        self._read: tuple[int, list[Entry], RunState] = (0, [], RunState())

    def __repr__(self) -> str:
        state, best = self.state, self.state.best
        found = "no score yet" if best is None else f"best {best.name} at {best.score:.2f}"
        end = "finished" if state.finished else "unfinished"
        return f"<evomerge run {self.name!r}: {end}, {state.evaluations} evaluations, {found}>"

    @property
    def name(self) -> str:
        """The name of the run, and of its folder."""
        return self._directory.name

    @property
    def path(self) -> Path:
        """Its folder: journal, checkpoints, logs, links to weights, report."""
        return self._directory.path

    @property
    def state(self) -> RunState:
        """The fold of its journal as it is now.

        Raises:
            DamagedError: the journal is damaged.
        """
        size = self._directory.journal.stat().st_size
        if size != self._read[0]:
            entries = self._directory.read()
            self._read = (size, entries, fold(entries))
        return self._read[2]

    @property
    def finished(self) -> bool:
        """Whether it has come to its end."""
        return self.state.finished

    @property
    def best(self) -> Model:
        """The best model by the objective on the selection split.

        Raises:
            UsageError: no model is scored yet.
        """
        if self.state.best is None:
            raise UsageError(f"{self.name} has no scored model yet")
        return self.state.best

    def models(self) -> pd.DataFrame:
        """All models, one row each, in the order in which they were proposed.

        Columns: `evomerge.analysis.models.COLUMNS`, then for each task its score, its standard
        error, the share of the best foundation model's score that is kept, and held-out scores.
        """
        import pandas as pd

        state = self.state
        return pd.DataFrame(model_rows(self._read[1], state))

    def generations(self) -> pd.DataFrame:
        """All generations, one row each.

        Columns: generation, models, failed, best (name of its best model), score (of that),
        best_so_far (score), pool (names), pool_kinship (mean over its pairs), stop (the criterion
        that ended the search).
        """
        import pandas as pd

        state = self.state
        return pd.DataFrame([_generation(each.number, state) for each in state.generations])

    def kinship(self, metric: str | None = None, *, exact: bool = False) -> pd.DataFrame:
        """Kinship of all scored models: a symmetric frame, NaN where it is unknown.

        What no decision read is estimated from samples of the weights; `frame.attrs["errors"]` has
        half of the 95 % intervals, 0 where it was measured.

        Args:
            metric: `pcc`, `cosine` or `euclidean`; default: that of the run.
            exact: measure what is estimated, as far as weights are there; it is kept.

        Raises:
            UsageError: there is no such metric.
            PreflightError: with `exact`, weights cannot be read.
        """
        chosen = metric_named(metric) if metric else self.state.start.metric
        if exact:
            from evomerge.api.measuring import measured, of_run

            tables = measured(of_run(self._directory, self.state), [chosen.value], exact=True)
            matrix = tables.parts[""][chosen.value]
            errors = tables.errors.get("", {}).get(chosen.value)
            return _matrix(
                tables.models,
                lambda a, b: matrix[a][b],
                lambda a, b: errors[a][b] if errors else 0.0,
            )
        from evomerge.adapters.estimates import with_estimates

        names = [model.name for model in self.state.models.values() if model.scores]
        known = with_estimates(self._directory, self.state, all_pairs(names)).kinship_by(chosen)
        itself = 0.0 if chosen is Metric.EUCLIDEAN else 1.0
        return _matrix(
            names,
            lambda a, b: itself if a == b else known.between(names[a], names[b]),
            lambda a, b: 0.0 if a == b else known.error(names[a], names[b]) or 0.0,
        )

    def samples(self, model: str, task: str, split: Split = "selection") -> pd.DataFrame:
        """A model's answers to the items of a task, one row an item.

        Columns: item (index in the task), prompt, target, answer, value (the metric, 0 to 1).

        Args:
            model, task: names.
            split: `selection`, `held_out` or `final`.

        Raises:
            UsageError: the run has no such model, or no per-item results of it on this task.
        """
        import pandas as pd

        from evomerge.flips import answers
        from evomerge.gains import filters_of

        subject = self.state.models[model_named(model, self.state, self.name)]
        try:
            found = answers(
                Store(self._directory.store),
                subject,
                task,
                filters_of(self._directory).get(task),
                split,
            )
        except NoItemsError as error:
            raise UsageError(f"{model}: {error}", self._scored_on(subject, split)) from None
        return pd.DataFrame([vars(each) for each in found])

    def _scored_on(self, model: Model, split: Split) -> str | None:
        scores = model.on(split)
        if scores is None:
            return f"it has no scores on the split {split}"
        return f"it was scored on {', '.join(task.task for task in scores.tasks)}"

    def compare(self, model: str, other: str, split: Split = "selection") -> pd.DataFrame:
        """Two models item by item, on all tasks that both were scored on.

        Columns: task, item, prompt, target, one with the answer of each model (its name), one with
        the value of each (`<name> value`), and change: `won` where `model` is right and `other` is
        wrong, `lost` the other way round, else empty.

        Raises:
            UsageError: as `samples`, or the two are the same model.
        """
        import pandas as pd

        from evomerge.flips import RIGHT

        if model == other:
            raise UsageError("a comparison needs two models", "name another one")
        tasks = [self._tasks(name, split) for name in (model, other)]
        frames = []
        for task in (task for task in tasks[0] if task in tasks[1]):
            left, right = (self.samples(name, task, split) for name in (model, other))
            theirs = right[["item", "answer", "value"]]
            both = left.merge(theirs, on="item", suffixes=("", " other"))
            right_here, right_there = both["value"] >= RIGHT, both["value other"] >= RIGHT
            both["change"] = ""
            both.loc[right_here & ~right_there, "change"] = "won"
            both.loc[~right_here & right_there, "change"] = "lost"
            both.insert(0, "task", task)
            frames.append(both)
        if not frames:
            raise UsageError(f"{model} and {other} were scored on no common task of {split}")
        table = pd.concat(frames, ignore_index=True)
        return table.rename(
            columns={
                "answer": model,
                "value": f"{model} value",
                "answer other": other,
                "value other": f"{other} value",
            }
        )

    def _tasks(self, model: str, split: Split) -> list[str]:
        scores = self.state.models[model_named(model, self.state, self.name)].on(split)
        return [task.task for task in scores.tasks] if scores else []

    @property
    def plot(self) -> Plots:
        """The figures of the report as Altair charts, which notebooks show."""
        from evomerge.report.reading import read_view

        return Plots(read_view(self._directory))

    def report(self) -> Path:
        """Write `report.html` and `plots/` anew; returns the path of the page."""
        from evomerge.report.run_page import write_report

        return write_report(self._directory)

    def resume(
        self,
        more: int | None = None,
        *,
        hours: float | None = None,
        cost: float | None = None,
        price: float | None = None,
        callbacks: Sequence[Callback] = (),
        progress: bool = True,
        accept_drift: bool = False,
    ) -> Run:
        """Go on from the run's copy of its config; a finished run only if it is extended.

        Args:
            more, hours, cost: extend a finished run by so many evaluations or hours of work, or
                until its GPU-hours have cost so much more; the first that is reached ends it.
            price: of a GPU-hour; default: that of the run's `max_cost`.
            callbacks: as `evomerge.run`.
            progress: show progress on stderr.
            accept_drift: go on although models or library versions have changed.

        Raises:
            StoppedError: it stopped before its end, by Ctrl-C too, and can be resumed.
            PreflightError: it cannot go on.
        """
        from evomerge.configfile import load_recorded
        from evomerge.configfile.citing import citing
        from evomerge.store.recorded import find_own_run

        directory = find_own_run(str(self.path), self.path.parent)
        with citing(directory.config), resumable(directory):
            driven(
                directory,
                load_recorded(directory.config),
                accept_drift=accept_drift,
                callbacks=callbacks,
                silent=not progress,
                more=extension(directory, more, hours, cost, price),
            )
        return self

    def bundle(self, to: Path | str, *, weights: bool = False) -> Path:
        """Write the run to a new file, with its report; `evomerge.unbundle` unpacks it elsewhere.

        Args:
            weights: pack the weights of the best model too; pruned ones are made again.

        Raises:
            UsageError: there is a file `to`, or the best model is a foundation model.
            DamagedError: the run is damaged.
        """
        from evomerge.adapters.bundle import pack
        from evomerge.api.exporting import weights_of

        state = self.state
        if weights:
            weights_of(self._directory, self.best)
        self.report()
        pack(self._directory, Path(to), state.best.content_id if weights and state.best else None)
        return Path(to)

    def command(self, name: str, *words: str) -> str:
        """The command line `evomerge <name> <run> <words>` that works in the current folder."""
        return self._directory.command(name, *words)

    def rename(self, name: str) -> Run:
        """Give the run another name, which is its folder's; returns it in its new folder.

        Raises:
            UsageError: the name is invalid or taken.
            LockedError: a process drives the run.
        """
        renamed = Run(rename(self._directory, name).path)
        if (renamed.path / "report.html").exists():
            renamed.report()
        return renamed

    def remove(self, *, dry_run: bool = True) -> Removal:
        """Delete the run and what only it needs in the store; returns what that is.

        Args:
            dry_run: only find out what would be deleted; `freed` has the bytes.

        Raises:
            LockedError: a process drives the run.
            UsageError: it is the baseline of another run.
        """
        removal = removal_of(self._directory)
        if not dry_run:
            removal.carry_out()
        return removal

    def export(self, to: Path | str, model: str | None = None, *, copy: bool = False) -> list[Path]:
        """Write a model as a Hugging Face folder with its model card; returns its files.

        Args:
            to: a new folder.
            model: its name; None for the best.
            copy: copy the weights instead of hard-linking them.

        Raises:
            UsageError: there is no such offspring, or `to` is in the way.
        """
        from evomerge.api.exporting import export

        return export(self._directory, Path(to), model, copy=copy)


class Plots:
    """The figures of a run's report as Altair charts: `chart.save("x.svg")`, `chart.to_json()`.

    `view` has the values that they show. A chart whose data a run lacks raises UsageError.
    """

    def __init__(self, view: RunView) -> None:
        self.view = view

    def gained_and_lost(self) -> alt.LayerChart:
        """The best model against the specialist on each task."""
        return self._chart("tasks", "gained_and_lost")

    def model_by_task(self) -> alt.LayerChart:
        """Models × tasks as a heatmap, with the specialists as reference."""
        return self._chart("tasks", "model_by_task")

    def trade_off(self) -> alt.LayerChart:
        """Two tasks against each other, with the Pareto front."""
        return self._chart("tasks", "trade_off")

    def best_so_far(self) -> alt.LayerChart:
        """All scores in the order of evaluations, with 95 % intervals, and the best so far."""
        return self._chart("scores", "best_so_far")

    def coefficients(self) -> alt.LayerChart:
        """The coefficients of a search as parallel coordinates."""
        return self._chart("search", "coefficients")

    def coefficients_and_score(self) -> alt.FacetChart:
        """Each coefficient of a search against the score."""
        return self._chart("search", "coefficients_and_score")

    def coefficient_importance(self) -> alt.LayerChart:
        """The share of the score's variance that depends on each coefficient."""
        return self._chart("search", "coefficient_importance")

    def expected_and_measured(self) -> alt.LayerChart:
        """The path of a search over coefficients: expected and measured scores."""
        return self._chart("search", "expected_and_measured")

    def family_tree(self) -> alt.LayerChart:
        """All models by generation, with the best model's line."""
        return self._chart("family", "family_tree")

    def kinship(self) -> alt.LayerChart:
        """The kinship of all models as a clustered heatmap."""
        return self._chart("kinship", "kinship_matrix")

    def kinship_and_gain(self) -> alt.LayerChart:
        """Kinship of the parents against the gain over them."""
        return self._chart("kinship", "kinship_and_gain")

    def pool_kinship(self) -> alt.LayerChart:
        """The mean kinship of the pool by generation."""
        return self._chart("kinship", "pool_kinship")

    def weight_change(self) -> alt.FacetChart:
        """How far each layer of the best model is from its parents'."""
        return self._chart("layers", "weight_change")

    def _chart(self, module: str, declare: str) -> Any:
        from importlib import import_module

        figure = getattr(import_module(f"evomerge.report.charts.{module}"), declare)(self.view)
        if figure is None:
            name = declare.replace("_", " ")
            raise UsageError(f"{self.view.name} has nothing to show as {name}")
        return figure.chart


def _generation(number: int, state: RunState) -> dict[str, Any]:
    generation, born = state.generations[number], state.at_generation(number)
    best = next((model for model in state.ranking if model.generation == number), None)
    pool = generation.pool
    return {
        "generation": number,
        "models": len(born),
        "failed": sum(model.failure is not None for model in born),
        "best": best and best.name,
        "score": best and best.score,
        "best_so_far": state.models[pool[0]].score if pool else None,
        "pool": list(pool) if pool else None,
        "pool_kinship": state.kinship.mean(pool) if pool else None,
        "stop": generation.stop,
    }


def metric_named(name: str) -> Metric:
    """A metric by its name; raises UsageError."""
    known = [each.value for each in Metric]
    if name not in known:
        raise UsageError(f"no metric {name!r}", f"expected one of {', '.join(known)}")
    return Metric(name)


def _matrix(
    names: Sequence[str],
    value: Callable[[int, int], float | None],
    error: Callable[[int, int], float | None],
) -> pd.DataFrame:
    import pandas as pd

    places = range(len(names))
    frame = partial(pd.DataFrame, index=list(names), columns=list(names), dtype=float)
    table: pd.DataFrame = frame([[value(a, b) for b in places] for a in places])
    table.attrs["errors"] = frame([[error(a, b) or 0.0 for b in places] for a in places])
    return table
