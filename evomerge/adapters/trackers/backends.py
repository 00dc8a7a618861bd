"""The tracker backends behind one protocol of three calls; imported on use."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

PROJECT = "evomerge"

TrackerName = Literal["trackio", "wandb", "tensorboard", "mlflow"]


class Tracker(Protocol):
    """The tracker interface; all calls come from one thread, and any may raise."""

    def start(self, identity: str, name: str, settings: Mapping[str, str | int]) -> None:
        """Start or resume the run `identity`.

        Args:
            identity: 32 hex digits, the same whenever a run is resumed.
            name: display name.
        """

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add points to series; `step` never decreases."""

    def finish(self) -> None:
        """Flush and close."""


class TrackioTracker:
    """The trackio backend, local-first; runs are identified by name."""

    def start(self, identity: str, name: str, settings: Mapping[str, str | int]) -> None:
        import trackio

        self._trackio: Any = trackio
        trackio.init(
            project=PROJECT, name=f"{name}-{identity[:8]}", resume="allow", config=dict(settings)
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._trackio.log(dict(values), step=step)

    def finish(self) -> None:
        self._trackio.finish()


class WandbTracker:
    """Weights & Biases; mode, entity and key come from its environment variables."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def start(self, identity: str, name: str, settings: Mapping[str, str | int]) -> None:
        import wandb

        self._folder.mkdir(parents=True, exist_ok=True)
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=identity,
            name=name,
            resume="allow",
            dir=str(self._folder),
            config=dict(settings),
            settings=wandb.Settings(silent=True, console="off"),
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def finish(self) -> None:
        self._run.finish()


class TensorBoardTracker:
    """TensorBoard's writer, without torch; every driver adds a file to the run's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def start(self, identity: str, name: str, settings: Mapping[str, str | int]) -> None:
        from tensorboard.summary import Writer

        self._folder.mkdir(parents=True, exist_ok=True)
        self._writer: Any = Writer(str(self._folder))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def finish(self) -> None:
        self._writer.close()


class MlflowTracker:
    """MLflow; its storage is given by MLFLOW_TRACKING_URI."""

    _TAG = "evomerge_run"

    def start(self, identity: str, name: str, settings: Mapping[str, str | int]) -> None:
        from mlflow.tracking import MlflowClient

        self._client: Any = MlflowClient()
        experiment = self._client.get_experiment_by_name(PROJECT)
        number = experiment.experiment_id if experiment else self._client.create_experiment(PROJECT)
        known = self._client.search_runs([number], f"tags.{self._TAG} = '{identity}'")
        if known:
            self._id = known[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
            return
        made = self._client.create_run(number, tags={self._TAG: identity}, run_name=name)
        self._id = made.info.run_id
        for key, value in settings.items():
            self._client.log_param(self._id, key, value)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._client.log_metric(self._id, name, value, step=step)

    def finish(self) -> None:
        self._client.set_terminated(self._id)


BACKENDS: Mapping[str, Callable[[Path], Tracker]] = {
    "trackio": lambda _: TrackioTracker(),
    "wandb": lambda run: WandbTracker(run / "tracking"),
    "tensorboard": lambda run: TensorBoardTracker(run / "tracking" / "tensorboard"),
    "mlflow": lambda _: MlflowTracker(),
}
"""Constructors of trackers by name; each takes the run's folder."""
