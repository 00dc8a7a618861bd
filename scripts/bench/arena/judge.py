"""Peers' searches as rows of the arena's table, scored by evomerge's evaluator.

A search that `play_peers.py` made is a folder of OUT_DIR/fixture-N/peers. Its winner at a mark is
the child with the best dev score according to the peer; it is then scored by evomerge.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from arms import Arm
from fixtures import Fixture

from evomerge.config import Config
from evomerge.domain.scores import Scores
from evomerge.driver import drive
from evomerge.store.run_directory import RunDirectory
from evomerge.testing.landscape_run import SilentObserver
from evomerge.wiring import LocalWorkplace

FOLDER = "peers"
END = "end.json"


@dataclass(frozen=True)
class Search:
    """The search of a peer on a fixture."""

    folder: Path

    @property
    def name(self) -> str:
        """The names of the peer, its algorithm and its merge method."""
        return self.folder.name

    @cached_property
    def children(self) -> tuple[dict[str, Any], ...]:
        """The records of `peers/record.py`, in order."""
        path = self.folder / "children.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return tuple(json.loads(line) for line in lines)

    @cached_property
    def end(self) -> dict[str, Any]:
        """Its end: `exit`, `seconds` of the whole command, `fault` or None."""
        found: dict[str, Any] = json.loads((self.folder / END).read_text(encoding="utf-8"))
        return found

    def reached(self, marks: Sequence[int]) -> list[int]:
        """The marks that it reached with at least one scored child."""
        scored = [child["number"] for child in self.children if child["dev"] is not None]
        return [mark for mark in marks if scored and scored[0] <= mark <= len(self.children)]

    def winner(self, mark: int) -> dict[str, Any]:
        """The child with the peer's best score among the first `mark`; ties go to the earlier."""
        scored = [child for child in self.children[:mark] if child["dev"] is not None]
        return max(scored, key=lambda child: (child["dev"], -child["number"]))

    def model(self, child: Mapping[str, Any]) -> Path:
        """The folder of a child that was the best when it was scored."""
        return self.folder / str(child["model"])


def mean_score(scores: Scores) -> float:
    """The mean over tasks, in points: the arena's measure of arms and peers."""
    return fmean(task.value for task in scores.tasks)


@dataclass(frozen=True)
class Judged:
    """A search with evomerge's scores of its winners.

    Attributes:
        dev: points on the selection items, by mark.
        held_out: scores on the held-out items, by mark.
    """

    search: Search
    dev: Mapping[int, float]
    held_out: Mapping[int, Scores]

    def row(self, fixture: Fixture) -> dict[str, Any]:
        """The row, with the keys of an arm.

        `dev` is evomerge's score, `disagreement` its difference to the peer's.
        `seconds` excludes the start of the peer, `wall_clock` includes it.
        """
        found: dict[str, Any] = {"fixture": fixture.number}
        for mark, scores in self.held_out.items():
            found[f"dev@{mark}"] = self.dev[mark]
            found[f"held_out@{mark}"] = mean_score(scores)
            found[f"weakest@{mark}"] = min(task.value for task in scores.tasks)
            found[f"gap@{mark}"] = self.dev[mark] - mean_score(scores)
        children = self.search.children
        found["children"] = len(children)
        found["seconds"] = sum(child["seconds"] for child in children)
        found["wall_clock"] = self.search.end["seconds"]
        found["disagreement"] = max(
            abs(self.search.winner(mark)["dev"] - dev) for mark, dev in self.dev.items()
        )
        return found


def judged(fixture: Fixture, marks: Sequence[int]) -> tuple[Judged, ...]:
    """The peers' finished searches on a fixture, by name, without those that scored no child."""
    ended = [Search(end.parent) for end in sorted((fixture.folder / FOLDER).glob(f"*/{END}"))]
    searches = [search for search in ended if search.reached(marks)]
    if not searches:
        return ()
    winners = {
        (search.name, mark): search.model(search.winner(mark))
        for search in searches
        for mark in search.reached(marks)
    }
    digests = {path: _digest(path) for path in set(winners.values())}
    known = _scores(fixture, digests)
    return tuple(_judge(search, marks, winners, digests, known) for search in searches)


def _judge(
    search: Search,
    marks: Sequence[int],
    winners: Mapping[tuple[str, int], Path],
    digests: Mapping[Path, str],
    known: Mapping[str, tuple[Scores, Scores]],
) -> Judged:
    found = {mark: known[digests[winners[search.name, mark]]] for mark in search.reached(marks)}
    dev = {mark: mean_score(scores) for mark, (scores, _) in found.items()}
    return Judged(search, dev, {mark: scores for mark, (_, scores) in found.items()})


def _scores(fixture: Fixture, digests: Mapping[Path, str]) -> dict[str, tuple[Scores, Scores]]:
    """Dev and held-out scores by digest of the weights, from a run that starts with the models.

    A specialist is added, since a run needs two models; scores are in the fixture's store.
    """
    paths = dict(sorted((digest, path) for path, digest in digests.items()))
    key = hashlib.sha256(" ".join(paths).encode()).hexdigest()[:12]
    config = _config(fixture, f"judge-{key}", paths)
    run = RunDirectory(fixture.runs / config.run.name)
    state = drive(LocalWorkplace(config, run), [SilentObserver()])
    start = state.at_generation(0)
    return {
        digest: _both(model.scores, model.on("held_out"), model.name)
        for digest, model in zip(paths, start, strict=False)
    }


def _both(dev: Scores | None, held_out: Scores | None, name: str) -> tuple[Scores, Scores]:
    if dev is None or held_out is None:
        raise ValueError(f"{name} was not scored")
    return dev, held_out


def _config(fixture: Fixture, name: str, models: Mapping[str, Path]) -> Config:
    """The config of a run that scores models and ends before its first merge."""
    document = Arm("greedy").document(fixture, 1)
    document["run"]["name"] = name
    other = document["foundation_models"][0]
    named = [{"model": str(path), "name": digest[:16]} for digest, path in models.items()]
    document["foundation_models"] = [*named, other]
    document["stopping"] = [{"max_evaluations": len(models) + 1}]
    return Config.model_validate(document)


def _digest(model: Path) -> str:
    """The digest of the weights; two searches may find the same model."""
    found = hashlib.sha256()
    for path in _weights(model):
        found.update(path.read_bytes())
    return found.hexdigest()


def _weights(model: Path) -> Iterator[Path]:
    yield from sorted(model.glob("*.safetensors"))
