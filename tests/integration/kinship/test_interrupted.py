"""A run whose kinship is measured on real weights decides alike, wherever it was interrupted.

What a pass is taken over depends on where a run was stopped, since stored passes are not taken
again; the numbers must not. The landscape's own meter computes each pair alone and cannot see that.
"""

import pytest
import torch
from safetensors.torch import save_file

from evomerge.adapters import kinship_child
from evomerge.domain.digest import decision_digest
from evomerge.domain.errors import SignalledError
from evomerge.store.journal import read_journal
from evomerge.testing.landscape import DIMENSIONS, Fake, read_vector
from evomerge.testing.landscape_run import (
    LandscapeWorkplace,
    SilentObserver,
    landscape_config,
    run_landscape,
)

SHAPES = {"model.embed_tokens.weight": (300, 64), "model.layers.0.mlp.up_proj.weight": (150, 130)}


class WeightsMeter(Fake):
    """The real worker's operations, over weights that each vector of the landscape stands for."""

    kinds = frozenset({"measure", "sample"})

    def __init__(self, folder):
        self._folder = folder
        self._operations = kinship_child.operations("cpu")
        self.read = []

    def measure(self, operation, progress):
        sizes = [0]
        weights = self._over_weights(operation)
        answer = self._operations["measure"](weights, lambda _, total: sizes.append(total))
        self.read.append(sizes[-1])
        return answer

    def sample(self, operation, progress):
        return self._operations["sample"](self._over_weights(operation), progress)

    def _over_weights(self, operation):
        inputs = {name: self._weights(name, at) for name, at in operation.inputs.items()}
        return operation.model_copy(update={"inputs": inputs})

    def _weights(self, name, at):
        folder = self._folder / name
        if not folder.exists():
            folder.mkdir(parents=True)
            vector = torch.tensor(read_vector(at), dtype=torch.float64)
            draw = torch.Generator().manual_seed(0)
            weights = {}
            for tensor, shape in SHAPES.items():
                directions = torch.randn(DIMENSIONS, *shape, generator=draw, dtype=torch.float64)
                start = torch.randn(shape, generator=draw, dtype=torch.float64)
                moved = start + 0.1 * torch.einsum("d,dij->ij", vector, directions)
                weights[tensor] = (0.02 * moved).to(torch.bfloat16)
            save_file(weights, folder / "model.safetensors")
        return folder


class StopsAfter(SilentObserver):
    """Raises after the nth event, as a signal would."""

    def __init__(self, events):
        self.left = events

    def on_event(self, event, state):
        self.left -= 1
        if self.left == 0:
            raise SignalledError(15, "stopped")


def workplace(root, weights, strategy="kinship", name="landscape", retention="all"):
    config = landscape_config(
        run={"name": name, "seed": 1},
        strategy={"name": strategy, "k": 3},
        retention=retention,
        stopping=[{"max_generations": 2}],
    )
    return LandscapeWorkplace(root, config, meter=WeightsMeter(weights))


def bytes_read(place):
    """What each pass of a workplace read."""
    (meter,) = place.pool.of("measure")
    return meter.read


@pytest.mark.parametrize("retention", ["all", "best"])
def test_the_digest_is_the_same_wherever_it_was_stopped(tmp_path, retention):
    def place(root):
        return workplace(root, tmp_path / "weights", retention=retention)

    digest = decision_digest(run_landscape(tmp_path / "whole", workplace=place(tmp_path / "whole")))
    journal = tmp_path / "whole/runs/landscape/journal.jsonl"
    events = len(read_journal(journal).entries)
    assert events > 20
    for number in range(1, events, 3):
        root = tmp_path / str(number)
        with pytest.raises(SignalledError):
            run_landscape(root, workplace=place(root), observer=StopsAfter(number))
        for stored in list((root / "runs/store/kinship").glob("*/*"))[:1]:
            stored.unlink()  # as a cleaned disk leaves it: that pass is taken again
        assert decision_digest(run_landscape(root, workplace=place(root))) == digest, number


def test_the_digest_is_the_same_after_passes_of_another_arm(tmp_path):
    alone = workplace(tmp_path / "alone", tmp_path / "weights")
    digest = decision_digest(run_landscape(tmp_path / "alone", workplace=alone))
    root = tmp_path / "both"
    other = workplace(root, tmp_path / "weights", "random", "other")
    run_landscape(root, workplace=other)
    after = workplace(root, tmp_path / "weights")
    assert decision_digest(run_landscape(root, workplace=after)) == digest
    assert bytes_read(after) != bytes_read(alone), "other passes than those of the run alone"
