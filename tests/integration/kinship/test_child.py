"""The kinship child: what it reads, what it keeps, what it predicts from what it kept."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from evomerge.adapters import kinship_child
from evomerge.adapters.kinship_files import read_passes
from evomerge.domain.errors import CandidateError
from evomerge.domain.kinship import Metric, pair
from evomerge.domain.recipe import Ingredient, Recipe
from evomerge.kinship import Pass
from evomerge.kinship.prediction.sample import Sample


def ignore(done, total):
    assert 0 <= done <= total


@pytest.fixture
def world(workshop, tmp_path):
    base, models = workshop.family("abcd")
    folders = {name: workshop.write(name, weights) for name, weights in models.items()}
    return World(workshop.write("base", base), folders, tmp_path / "passes")


class World:
    def __init__(self, base, folders, passes):
        self.base, self.folders, self.passes = base, folders, passes

    def payload(self, names, **more):
        return {
            "base": str(self.base),
            "base_id": "base-id",
            "passes": str(self.passes),
            "exclude": [],
            "models": {name: str(self.folders[name]) for name in names},
            **more,
        }

    def measure(self, names, pairs):
        payload = self.payload(names, pairs=[list(each) for each in pairs])
        return kinship_child.measure(payload, ignore)["readings"]

    def predict(self, names, recipes):
        payload = self.payload(
            names, recipes=[one.model_dump(mode="json") for one in recipes], metric="pcc"
        )
        return kinship_child.predict(payload, ignore)

    def lose(self, name):
        self.folders[name].rename(self.base.with_name(f"{name}-gone"))


def linear(*parents, method="linear", seed=None):
    own = {"weight": 0.5} | ({} if method == "linear" else {"density": 0.5})
    return Recipe(
        method=method,
        parents=tuple(Ingredient(model=each, parameters=own) for each in parents),
        base=parents[0] if method == "linear" else "base-id",
        dtype="float32",
        seed=seed,
        engine="mergekit 0.1.5",
    )


def test_ranking_partners_of_the_best_reads_no_weights_again(world):
    names = list("abc")
    pairs = [pair("a", other) for other in "bc"]
    first = world.measure(names, pairs)
    for name in names:
        world.lose(name)
    world.base.rename(world.base.with_name("base-gone"))
    assert world.measure(names, pairs) == first, "there are no weights left to read"


def test_a_child_is_read_with_the_base_and_those_it_is_paired_with(world):
    world.measure("abc", [pair("a", "b"), pair("a", "c"), pair("b", "c")])
    world.lose("c")  # no pair of it is asked for
    readings = world.measure("abd", [pair("d", "a"), pair("d", "b")])
    assert all(reading["pcc"] is not None for reading in readings)
    (last,) = read_passes(world.passes, "d")
    assert last.new == ("d",), "known models are not multiplied with one another again"
    with pytest.raises(CandidateError):
        world.measure("abcd", [pair("c", "d")])


def test_a_pass_is_read_once_and_left_aside_where_it_tells_of_other_models(world, monkeypatch):
    first = world.measure("ab", [pair("a", "b")])
    world.measure("cd", [pair("c", "d")])
    assert [one.new for one in read_passes(world.passes, {"a", "e"})] == [("a", "b")]
    monkeypatch.setattr(Pass, "from_bytes", None)
    assert world.measure("ab", [pair("a", "b")]) == first


def test_samples_lie_beside_the_passes_and_make_predictions_without_weights(world):
    world.measure("abc", [pair("a", "b"), pair("a", "c"), pair("b", "c")])
    names = {path.name for path in world.passes.glob("*.sample")}
    assert names == {"base-id.sample", "a.sample", "b.sample", "c.sample"}
    recipes = [linear("a", "b"), linear("a", "c", method="ties")]
    before = world.predict("abc", recipes)
    assert not before["refused"]
    assert len(before["estimates"]) == 2 * 3 + 1
    assert all(one["predicted"] and one["error"] is not None for one in before["estimates"])
    for name in "abc":
        world.lose(name)
    assert world.predict("abc", recipes) == before


def test_a_damaged_sample_is_taken_again(world):
    world.measure("ab", [pair("a", "b")])
    path = world.passes / "a.sample"
    whole = path.read_bytes()
    torn = bytearray(whole)
    torn[len(torn) // 2] ^= 1
    path.write_bytes(torn)
    child = linear("a", "b", method="ties")
    assert not world.predict("ab", [child])["refused"]
    assert path.read_bytes() == whole
    path.unlink()
    assert not world.predict("ab", [child])["refused"]
    assert path.read_bytes() == whole
    assert Sample.from_bytes(whole).to_bytes() == whole


def test_without_a_sample_the_bar_is_wider_and_the_rest_is_refused(world):
    world.measure("abc", [pair("a", "b"), pair("a", "c"), pair("b", "c")])
    recipes = [linear("a", "b"), linear("b", "c", method="ties")]
    sampled = world.predict("abc", recipes)
    (world.passes / "c.sample").unlink()
    world.lose("c")
    told = world.predict("abc", recipes)
    assert "samples" in told["refused"][recipes[1].id]
    values = [
        {tuple(one["models"]): one for one in each["estimates"]}[recipes[0].id, "c"]
        for each in (sampled, told)
    ]
    assert values[1]["value"] == pytest.approx(values[0]["value"], abs=1e-6)
    known = {tuple(one["models"]): one for one in told["estimates"]}
    assert known[recipes[0].id, "a"]["value"] is not None
    assert known[recipes[1].id, "a"] == {
        "models": [recipes[1].id, "a"], "value": None, "error": None, "predicted": True,
    }  # fmt: skip


def test_a_child_that_was_measured_is_exact(world):
    child = linear("a", "b")
    a, b = (load_file(world.folders[name] / "model.safetensors") for name in "ab")
    folder = world.base.with_name("child")
    folder.mkdir()
    save_file({name: torch.lerp(a[name], b[name], 0.5) for name in a}, folder / "model.safetensors")
    before = world.predict("abc", [child])
    world.folders[child.id] = folder
    names = [*"abc", child.id]
    truth = world.measure(names, [pair(child.id, each) for each in "abc"])
    after = world.predict(names, [child])
    for guess, exact, reading in zip(before["estimates"], after["estimates"], truth, strict=True):
        assert guess["predicted"]
        assert not exact["predicted"]
        assert exact["error"] == 0
        assert exact["value"] == pytest.approx(reading[Metric.PCC], rel=1e-8)
        assert abs(guess["value"] - exact["value"]) <= guess["error"]
