"""The kinship child: what it reads and what it keeps."""

from __future__ import annotations

import hashlib
import io
import json
from itertools import chain, combinations

import numpy as np
import pytest

from evomerge.adapters import kinship_child
from evomerge.adapters.kinship_files import read_passes
from evomerge.domain.errors import CandidateError
from evomerge.domain.kinship import pair
from evomerge.execution import operations
from evomerge.kinship.passes import Pass
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

    def measure(self, names, pairs):
        folder = {"base-id": self.base, **self.folders}.__getitem__
        operation = operations.measure("base-id", names, pairs, folder, (), self.passes)
        return kinship_child.measure(operation, ignore)["readings"]

    def tabulate(self, names, **options):
        folder = {"base-id": self.base, **self.folders}.__getitem__
        asked = operations.measure("base-id", list(names), [], folder, (), self.passes)
        given = {"metrics": ["pcc"], "by": None, "split": False, "measure": True, **options}
        arguments = {**asked.arguments, **given}
        return kinship_child.tabulate(asked.model_copy(update={"arguments": arguments}), ignore)

    def sample(self, names):
        folder = {"base-id": self.base, **self.folders}.__getitem__
        kinship_child.sample(operations.sample("base-id", names, folder, self.passes), ignore)

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
    world.sample("ab")
    names = {path.name for path in world.passes.iterdir()}
    assert names == {"base-id.sample", "a.sample", "b.sample"}
    path = world.passes / "a.sample"
    whole = path.read_bytes()
    assert Sample.from_bytes(whole).to_bytes() == whole
    torn = bytearray(whole)
    torn[len(torn) // 2] ^= 1
    for damage in (torn, b""):
        path.write_bytes(damage)
        world.sample("a")
        assert path.read_bytes() == whole


def test_what_was_not_measured_is_estimated_also_without_weights(world):
    world.sample("abc")
    (measured,) = world.measure("ab", [pair("a", "b")])
    for name in "abc":
        world.lose(name)
    world.folders["d"] = world.folders["a"].with_name("never-there")
    told = world.tabulate("abcd", metrics=["pcc", "euclidean"], by="layer", measure=False)
    for metric in ("pcc", "euclidean"):
        table, errors = told["parts"][""][metric], told["errors"][""][metric]
        assert table[0][1] == pytest.approx(measured[metric], rel=1e-8)
        assert errors[0][1] is None
        assert table[0][2] is not None
        assert errors[0][2] == 0, "such a small model is in its sample whole"
        assert [row[3] for row in table] == [None] * 4
    assert set(told["parts"]) == {"", "model.layers.0", "model.layers.1"}
    assert told["warnings"] == ["there are neither weights nor a sample of d"]
    (note, *_) = world.tabulate("abc")["warnings"]
    assert note.startswith("not measured, since the weights of a, b, c are missing")


def test_an_estimate_is_made_exact(world):
    before = world.tabulate("abc", measure=False)
    assert not list(world.passes.glob("*.pass"))
    assert any(error is not None for row in before["errors"][""]["pcc"] for error in row)
    after = world.tabulate("abc")
    assert len(list(world.passes.glob("*.pass"))) == 1
    assert not any(error is not None for row in after["errors"][""]["pcc"] for error in row)
    assert after["parts"][""]["pcc"][0][1] == pytest.approx(before["parts"][""]["pcc"][0][1])
    assert world.tabulate("abc", measure=False) == after, "it is kept"
    with pytest.raises(CandidateError, match="exclude every tensor"):
        world.tabulate("abc", exclude=["*"], measure=False)


def test_a_reading_does_not_depend_on_what_was_measured_beside_it(world, workshop, tmp_path):
    """Nor on the rows and tensors that others lack, nor on where a run was interrupted."""
    base, models = workshop.family("abcdef")
    head = "lm_head.weight"
    models["e"][head] = models["e"][head][:290]
    del models["f"][head]
    for name in "ef":
        world.folders[name] = workshop.write(name, models[name])
    pairs = [pair(*each) for each in combinations("abcdef", 2)]
    at_once = world.measure("abcdef", pairs)
    assert all(reading["pcc"] is not None for reading in at_once)
    deltas = {name: workshop.delta(base, models[name]) for name in "ab"}
    expected = np.corrcoef(deltas["a"], deltas["b"])[0, 1]
    assert at_once[0]["pcc"] == pytest.approx(expected, abs=1e-8), "over all of their own rows"

    world.passes = tmp_path / "each pair alone"
    assert [*chain(*(world.measure(each, [each]) for each in pairs))] == at_once
    assert world.measure("abcdef", pairs) == at_once, "from what is stored"

    world.passes = tmp_path / "one model after another"
    grown = {}
    for number in range(2, 7):
        names = "fbdaec"[:number]
        asked = [each for each in pairs if set(each) <= set(names) and each not in grown]
        grown |= dict(zip(asked, world.measure(names, asked), strict=True))
    assert [grown[each] for each in pairs] == at_once


def of_format_1(taken):
    """The file that an earlier version would have written; its sums are 1 % off."""
    with np.load(io.BytesIO(taken.to_bytes())) as archive:
        header = json.loads(archive["header"].tobytes()) | {"format": 1}
    grams = [np.insert(1.01 * block.gram, 1, 7.0, axis=1) for block in taken.tensors]
    grams = [np.insert(gram, 0, 7.0, axis=0).ravel() for gram in grams]
    buffer = io.BytesIO()
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(buffer, header=text, gram=np.concatenate(grams))
    return buffer.getvalue()


def test_what_an_earlier_version_measured_decides_nothing_and_is_shown(world):
    wanted = [pair("a", "b")]
    first = world.measure("ab", wanted)
    (path,) = world.passes.glob("*.pass")
    taken = Pass.from_bytes(path.read_bytes())
    path.unlink()
    old = of_format_1(taken)
    (world.passes / f"{hashlib.sha256(old).hexdigest()[:32]}.pass").write_bytes(old)
    table = world.tabulate("ab", metrics=["euclidean"])
    off = table["parts"][""]["euclidean"][0][1] / first[0]["euclidean"]
    assert off == pytest.approx(1.01**0.5)
    assert world.measure("ab", wanted) == first
    table = world.tabulate("ab", metrics=["euclidean"])
    assert table["parts"][""]["euclidean"][0][1] == pytest.approx(first[0]["euclidean"], rel=1e-8)
