"""The kinship child: what it reads and what it keeps."""

from __future__ import annotations

import pytest

from evomerge.adapters import kinship_child
from evomerge.adapters.kinship_files import read_passes
from evomerge.domain.errors import CandidateError
from evomerge.domain.kinship import pair
from evomerge.kinship import Pass
from evomerge.kinship.sample import Sample


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

    def lose(self, name):
        self.folders[name].rename(self.base.with_name(f"{name}-gone"))


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


def test_samples_lie_beside_the_passes_and_damaged_ones_are_taken_again(world):
    world.measure("ab", [pair("a", "b")])
    names = {path.name for path in world.passes.glob("*.sample")}
    assert names == {"base-id.sample", "a.sample", "b.sample"}
    path = world.passes / "a.sample"
    whole = path.read_bytes()
    assert Sample.from_bytes(whole).to_bytes() == whole
    torn = bytearray(whole)
    torn[len(torn) // 2] ^= 1
    for damage in (torn, b""):
        path.write_bytes(damage)
        world.measure("abc", [pair("a", "c")])
        assert path.read_bytes() == whole
        for measured in world.passes.glob("*.pass"):
            measured.unlink()
