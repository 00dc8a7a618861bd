"""A pass over real files against plain float64, under every way of reading and sharing work."""

from __future__ import annotations

import itertools
import json
import struct
import threading

import numpy as np
import pytest
import torch

from evomerge.kinship.errors import KinshipError
from evomerge.kinship.grouping import layer_of
from evomerge.kinship.products import one_thread_each
from evomerge.kinship.statistics import Statistics
from evomerge.kinship.stream import measure
from evomerge.kinship.union import missing_pairs

HALVES = torch.bfloat16, torch.float16, torch.float32, torch.float64


def rounded(weights, dtype):
    return {name: weight.to(dtype) for name, weight in weights.items()}


def assert_figures(statistics, deltas):
    """pcc and cosine within 1e-7, euclidean within 1e-6 relative, of the float64 deltas."""
    for a, b in itertools.combinations(deltas, 2):
        x, y = deltas[a], deltas[b]
        assert statistics.pair("pcc", a, b) == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-7)
        cosine = x @ y / np.linalg.norm(x) / np.linalg.norm(y)
        assert statistics.pair("cosine", a, b) == pytest.approx(cosine, abs=1e-7)
        apart = np.linalg.norm(x - y)
        assert statistics.pair("euclidean", a, b) == pytest.approx(apart, rel=1e-6)


@pytest.mark.parametrize("shards", [1, 3])
def test_figures_are_those_of_float64(workshop, shards):
    base, models = workshop.family()
    base = rounded(base, torch.bfloat16)
    models = {name: rounded(weights, torch.bfloat16) for name, weights in models.items()}
    paths = {name: workshop.write(name, weights, shards) for name, weights in models.items()}
    taken = measure(workshop.write("base", base), paths, base_id="base")
    statistics = Statistics.merge([taken])
    assert statistics.models == tuple("abc")
    assert_figures(statistics, {m: workshop.delta(base, models[m]) for m in models})
    names = [name for name in base if name.startswith("model.layers.1.")]
    assert_figures(
        statistics.split_by(layer_of)["model.layers.1"],
        {m: workshop.delta(base, models[m], names) for m in models},
    )


def test_dtypes_may_differ(workshop):
    base, models = workshop.family("abcd")
    base = rounded(base, torch.float16)
    for model, dtype in zip(models, HALVES, strict=True):
        models[model] = rounded(models[model], dtype)
    models["b"]["lm_head.weight"] = models["b"]["lm_head.weight"].to(torch.bfloat16)
    paths = {name: workshop.write(name, weights) for name, weights in models.items()}
    statistics = Statistics.merge([measure(workshop.write("base", base), paths, base_id="base")])
    assert_figures(statistics, {m: workshop.delta(base, models[m]) for m in models})


def test_long_tensors_stay_accurate(workshop):
    torch.manual_seed(0)
    base = {"long": torch.randn(3, 1_000_003) + 1}
    common = torch.randn(3, 1_000_003)
    models = {
        "a": {"long": base["long"] + 1e-2 * common + 1e-3},
        "b": {"long": base["long"] + 1e-2 * (common + 0.1 * torch.randn(3, 1_000_003))},
        "c": {"long": base["long"] - 1e-3 * torch.randn(3, 1_000_003)},
    }
    paths = {name: workshop.write(name, weights) for name, weights in models.items()}
    statistics = Statistics.merge([measure(workshop.write("base", base), paths, base_id="base")])
    assert_figures(statistics, {m: workshop.delta(base, models[m]) for m in models})


def test_threads_do_not_change_a_bit(workshop):
    base, models = workshop.family("ab", vocabulary=30_000, hidden=96)
    folder = workshop.write("base", rounded(base, torch.bfloat16))
    paths = {name: workshop.write(name, weights, 2) for name, weights in models.items()}
    results = {
        measure(folder, paths, base_id="base", threads=threads).to_bytes() for threads in (1, 2, 3)
    }
    assert len(results) == 1


def test_tensors_may_lie_anywhere(workshop):
    """A one-byte tensor in front puts all others at odd offsets."""
    base, models = workshop.family("ab")
    paths = {}
    for name, weights in {"base": base, **models}.items():
        paths[name] = workshop.write(name, weights)
        file = paths[name] / "model.safetensors"
        content = file.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        header = {"flag": {"dtype": "BOOL", "shape": [1], "data_offsets": [0, 1]}}
        for key, entry in json.loads(content[8 : 8 + length]).items():
            if key != "__metadata__":
                entry["data_offsets"] = [offset + 1 for offset in entry["data_offsets"]]
                header[key] = entry
        text = json.dumps(header).encode()
        file.write_bytes(struct.pack("<Q", len(text)) + text + b"\1" + content[8 + length :])
    taken = measure(paths.pop("base"), paths, base_id="base")
    assert_figures(Statistics.merge([taken]), {m: workshop.delta(base, models[m]) for m in models})
    assert taken.skipped == {"base": {"flag": "BOOL"}}


def test_more_models_than_a_tile_of_products(workshop):
    names = "abcdefghijklmnopqrs"
    base, models = workshop.family(names, vocabulary=600)
    folder = workshop.write("base", base)
    paths = {name: workshop.write(name, models[name]) for name in names}
    deltas = {model: workshop.delta(base, models[model]) for model in names}
    whole = measure(folder, paths, base_id="base")
    assert_figures(Statistics.merge([whole]), deltas)
    first = measure(folder, {name: paths[name] for name in names[:5]}, base_id="base")
    rest = measure(folder, paths, base_id="base", known=[first])
    assert rest.new == tuple(names[5:])
    assert_figures(Statistics.merge([rest, first]), deltas)


def test_a_new_model_is_measured_against_all_and_nothing_else_is(workshop):
    base, models = workshop.family("abc")
    folder = workshop.write("base", base)
    paths = {name: workshop.write(name, weights) for name, weights in models.items()}
    first = measure(folder, {name: paths[name] for name in "ab"}, base_id="base")
    assert missing_pairs([first], "abc") == {("a", "c"), ("b", "c"), ("c", "c")}
    second = measure(folder, paths, base_id="base", known=[first])
    assert second.new == ("c",)
    assert all(block.gram.shape == (1, 4) for block in second.tensors)
    united = Statistics.merge([second, first])
    whole = Statistics.merge([measure(folder, paths, base_id="base")])
    np.testing.assert_array_equal(united.gram, whole.gram)
    assert_figures(united, {m: workshop.delta(base, models[m]) for m in models})


def test_a_pair_is_the_same_to_the_bit_in_a_pass_of_any_shape(workshop):
    """Beside any others, in any order and dtype, in one pass or many; a pass over all included."""
    names = "abcdefghijk"
    base, models = workshop.family(names, vocabulary=20_000, hidden=96)
    dtypes = dict(zip(names, itertools.cycle(HALVES)))
    models = {name: rounded(weights, dtypes[name]) for name, weights in models.items()}
    folder = workshop.write("base", rounded(base, torch.bfloat16))
    paths = {name: workshop.write(name, weights, 2) for name, weights in models.items()}

    def over(chosen, pairs=None, known=()):
        paths_of = {name: paths[name] for name in chosen}
        return measure(folder, paths_of, pairs, base_id="base", known=known)

    every = list(itertools.combinations(names, 2))
    whole = Statistics.merge([over(names)])
    grown = [over("ab")]
    for number in range(3, len(names) + 1, 3):
        grown.append(over(names[:number], known=grown))
    shapes = {
        "backwards": [over(names[::-1])],
        "rows appended": [*grown, over(names, known=grown)],
        "by pairs": [over(pair) for pair in every],
        "a star": [over(names, [("f", name) for name in names if name != "f"])],
    }
    for shape, passes in shapes.items():
        asked = [pair for pair in every if "f" in pair] if shape == "a star" else every
        found = Statistics.merge(passes, names, asked)
        for metric, (a, b) in itertools.product(("pcc", "cosine", "euclidean"), asked):
            assert found.pair(metric, a, b) == whole.pair(metric, a, b), (shape, metric, a, b)
    alone = Statistics.merge([over("af")])
    assert alone.pair("pcc", "a", "f") == whole.pair("pcc", "a", "f")


def test_a_model_of_no_missing_pair_is_not_read(workshop):
    base, models = workshop.family("abc")
    folder = workshop.write("base", base)
    paths = {name: workshop.write(name, weights) for name, weights in models.items()}
    seen = []
    taken = measure(
        folder, paths, [("c", "a")], base_id="base", progress=lambda _, total: seen.append(total)
    )
    assert taken.new == ("a", "c")
    assert seen[-1] == 3 * sum(weight.nbytes for weight in base.values())


def test_nothing_new_reads_nothing(workshop):
    base, models = workshop.family("ab")
    folder = workshop.write("base", base)
    paths = {name: workshop.write(name, weights) for name, weights in models.items()}
    first = measure(folder, paths, base_id="base")
    seen = []
    again = measure(
        folder, paths, base_id="base", known=[first], progress=lambda *done: seen.append(done)
    )
    assert again.new == ()
    assert seen == []
    assert Statistics.merge([first, again]).matrix("pcc") == Statistics.merge([first]).matrix("pcc")


def test_progress_counts_the_bytes_of_all_weights(workshop):
    base, models = workshop.family("ab")
    paths = {name: workshop.write(name, weights) for name, weights in models.items()}
    seen = []
    measure(
        workshop.write("base", base),
        paths,
        base_id="base",
        progress=lambda done, total: seen.append((done, total)),
    )
    size = 3 * sum(weight.nbytes for weight in base.values())
    assert seen[-1] == (size, size)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_an_error_of_the_caller_ends_the_threads(workshop):
    base, models = workshop.family("ab")
    paths = {name: workshop.write(name, weights) for name, weights in models.items()}

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        measure(workshop.write("base", base), paths, base_id="base", progress=stop)
    assert caught.tb is not None
    assert not [one for one in threading.enumerate() if one.name.startswith("kinship")]


def test_torch_is_left_as_it_was():
    torch.set_num_threads(2)
    with one_thread_each():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"models": {}}, "needs models"),
        ({"base_id": "a"}, "needs models"),
        ({"pairs": [("a", "x")]}, "not among the models: x"),
        ({"threads": 0}, "threads"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(workshop, arguments, problem):
    base, models = workshop.family("a")
    given = {"models": {"a": workshop.write("a", models["a"])}, "base_id": "base"} | arguments
    with pytest.raises(KinshipError, match=problem):
        measure(workshop.write("base", base), **given)


def test_known_passes_of_another_base_are_refused(workshop):
    base, models = workshop.family("a")
    folder, paths = workshop.write("base", base), {"a": workshop.write("a", models["a"])}
    known = [measure(folder, paths, base_id="other")]
    with pytest.raises(KinshipError, match="another base"):
        measure(folder, paths, base_id="base", known=known)
