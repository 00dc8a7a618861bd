"""`evomerge kinship` on real weights: the numbers, the forms, the errors."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import command


def delta(folder, base):
    weights = load_file(folder / "model.safetensors")
    return torch.cat([(weights[key].double() - base[key].double()).flatten() for key in base])


def test_all_three_metrics_as_json_are_those_of_the_weights(tiny, evomerge):
    models = tiny / "models"
    done = evomerge(
        "kinship", models / "reverse", models / "sort", "--base", models / "base", "--json"
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    base = load_file(models / "base" / "model.safetensors")
    a, b = (delta(models / name, base) for name in document["models"])
    assert document["models"] == ["reverse", "sort"]
    assert document["pcc"][0][1] == pytest.approx(
        torch.corrcoef(torch.stack([a, b]))[0, 1].item(), abs=1e-7
    )
    assert document["cosine"][0][1] == pytest.approx(
        (a @ b / (a.norm() * b.norm())).item(), abs=1e-7
    )
    assert document["euclidean"][0][1] == pytest.approx((a - b).norm().item(), rel=1e-6)
    assert document["pcc"][0][0] == 1


def test_folders_that_hold_nothing_but_config_and_weights(tiny, evomerge, tmp_path):
    for name in ("base", "reverse", "sort"):
        (tmp_path / name).mkdir()
        for file in ("config.json", "model.safetensors"):
            shutil.copy(tiny / "models" / name / file, tmp_path / name)
    bare, whole = (
        evomerge("kinship", root / "reverse", root / "sort", "--base", root / "base", "--json")
        for root in (tmp_path, tiny / "models")
    )
    assert bare.returncode == 0, bare.stderr
    told, expected = json.loads(bare.stdout), json.loads(whole.stdout)
    assert {**told, "base": ""} == {**expected, "base": ""}


def test_a_model_equal_to_the_base_is_null_and_named(tiny, evomerge, tmp_path):
    copy = tmp_path / "untouched"
    copy.symlink_to(tiny / "models" / "base")
    done = evomerge("kinship", tiny / "models/sort", copy, "--base", tiny / "models/base", "--json")
    document = json.loads(done.stdout)
    assert document["pcc"][0][1] is None
    assert document["euclidean"][0][1] > 0
    assert "untouched equals the base" in done.stderr


def test_one_metric_by_kind_without_the_norms(tiny, evomerge):
    models = tiny / "models"
    arguments = ["kinship", models / "reverse", models / "sort", "--base", models / "base"]
    done = evomerge(
        *arguments, "--metric", "cosine", "--by", "kind", "--exclude", "*norm*", "--json"
    )
    document = json.loads(done.stdout)
    assert "cosine" in document
    assert "pcc" not in document
    assert set(document["by"]) == {"attention", "mlp", "embedding"}
    assert "note" not in done.stderr


def test_a_pattern_without_a_tensor_is_named(tiny, evomerge):
    models = tiny / "models"
    arguments = ["kinship", models / "reverse", models / "sort", "--base", models / "base"]
    done = evomerge(*arguments, "--exclude", "*nrm*", "--metric", "pcc")
    assert "'*nrm*' excludes no tensor" in done.stderr
    first, *_ = done.stdout.splitlines()
    assert first.rstrip() == f"pcc over {models / 'base'}"[:200], "one line, however long the path"


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["models/sort", "--base", "models/base"], 2, "two models or more"),
        (["models/sort", "models/srt", "--base", "models/base"], 3, "did you mean"),
        (["models/sort", "models/reverse"], 2, "need their --base"),
        (
            ["models/sort", "models/reverse", "--base", "models/base", "--exclude", "*"],
            3,
            "exclude every tensor",
        ),
        (["no-such-run"], 2, "no run named"),
    ],
)
def test_a_mistake_is_one_clear_line(tiny, arguments, code, expected):
    placed = [tiny / each if each.startswith("models/") else each for each in arguments]
    done = command("kinship", *placed)
    assert done.code == code
    assert expected in done.err
    assert "Traceback" not in done.err


@pytest.fixture(scope="module")
def three(tiny):
    models = tiny / "models"
    return [*(models / name for name in ("reverse", "sort", "rotate")), "--base", models / "base"]


def test_a_page_is_a_file(three, evomerge, tmp_path):
    page = tmp_path / "kinship.html"
    done = evomerge("kinship", *three, "--metric", "pcc", "--html", page)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_parity_leaves_out_what_the_public_tool_cannot_compare(three, evomerge):
    done = evomerge("kinship", *three, "--parity")
    assert done.returncode == 3
    assert "the public tool fails here: model.layers.0.mlp.gate_proj.weight" in done.stderr
    done = evomerge("kinship", *three, "--parity", "--split", "--json")
    document = json.loads(done.stdout)
    assert set(document) >= {"pcc", "cosine_abs", "euclidean"}
    assert "gate_proj.weight" in done.stderr


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--split"], "add --parity"),
        (["--parity", "--by", "layer"], "whole models"),
        (["--parity", "--metric", "cosine"], "has only pcc, cosine_abs, euclidean"),
        (["--metric", "cosine_abs"], "has only pcc, cosine, euclidean"),
    ],
)
def test_options_that_do_not_go_together(three, options, expected):
    done = command("kinship", *three, *options)
    assert done.code == 2
    assert expected in done.err
    assert "Traceback" not in done.err
