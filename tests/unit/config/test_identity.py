"""Every leaf is identity or runtime; what a config's id covers, and how two configs differ."""

from typing import get_args

import pytest
from pydantic import BaseModel

from evomerge.config import Config
from evomerge.configfile import config_id, differences, identity, identity_of, parse
from evomerge.configfile.identity import leaves
from evomerge.configfile.shape import alternatives


def sections(kind, seen):
    for choice in alternatives(kind):
        if isinstance(choice, type) and issubclass(choice, BaseModel):
            if choice not in seen:
                seen.append(choice)
                for field in choice.model_fields.values():
                    if not (field.json_schema_extra or {}).get("role"):
                        sections(field.annotation, seen)
        else:
            for inner in get_args(choice):
                if inner is not Ellipsis:
                    sections(inner, seen)
    return seen


def holds_sections(kind):
    return bool(sections(kind, []))


def test_every_leaf_of_the_schema_has_a_role_and_a_description():
    found = sections(Config, [])
    assert len(found) >= 15
    for section in found:
        assert section.__doc__, section
        for name, field in section.model_fields.items():
            role = (field.json_schema_extra or {}).get("role")
            where = f"{section.__name__}.{name}"
            assert role in {"identity", "runtime"} or holds_sections(field.annotation), where
            if role:
                assert field.description, where


def test_leaves_cover_the_whole_config(good):
    paths = [leaf.path for leaf in leaves(parse(good, "x"))]
    assert ("merge", "parameters", "lambda") in paths
    assert ("evaluation", "tasks", 1, "weight") in paths
    assert ("stopping",) in paths
    assert len(paths) == len(set(paths)) > 50


def test_runtime_settings_do_not_change_the_id(good):
    config = parse(good, "x")
    moved = parse(
        good,
        "x",
        ["run.name=other", "run.dir=/elsewhere", "execution.devices=[cuda:0]", "retention=best",
         "merge.options.low_cpu_memory=true", "foundation_models.0=./copies/one"],
    )  # fmt: skip
    assert config_id(moved) == config_id(config)
    told = differences(config, moved)
    assert told.identity == ()
    assert 'retention: "all" -> "best"' in told.runtime
    assert 'foundation_models.0.model: "org/one" -> "./copies/one"' in told.runtime


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("run.seed=1", "run.seed: 0 -> 1"),
        ("merge.parameters.lambda=2", "merge.parameters.lambda: 1 -> 2"),
        ("foundation_models.0.name=Uno", 'foundation_models.0.name: "one" -> "Uno"'),
        ("evaluation.tasks.1.weight=3", "evaluation.tasks.1.weight: 2 -> 3"),
        ("evaluation.tasks.0.limit=3", "evaluation.tasks.0.limit: null -> 3"),
        ("stopping=[pool_unchanged]", None),
        ("merge.parameters.weight.filters={self_attn.q: 0.1, mlp: [0.2, 1]}", None),
    ],
)
def test_identity_settings_change_the_id(good, override, line):
    config, other = parse(good, "x"), parse(good, "x", [override])
    assert config_id(config) != config_id(other)
    told = differences(config, other)
    assert told.runtime == ()
    assert len(told.identity) == 1
    assert line is None or told.identity == (line,)


def test_a_model_more_is_told_as_absent_before(good):
    more = good.replace("strategy:", "  - org/four\nstrategy:")
    told = differences(parse(good, "x"), parse(more, "x"))
    assert told.identity == ('foundation_models.3.name: absent -> "four"',)
    assert told.runtime == ('foundation_models.3.model: absent -> "org/four"',)


def test_spelling_does_not_change_the_id(good):
    short = parse(good, "x")
    long = parse(good.replace("- org/one", "- {name: one, model: org/one}").replace(
        "- pool_unchanged", "- pool_unchanged: true").replace("k: 3", "k: +3"), "x")  # fmt: skip
    assert config_id(short) == config_id(long)
    assert set(identity_of(short)) == set(identity_of(long))


def test_the_id_of_a_config_is_stable(good):
    """A change here orphans every run of earlier versions: raise CONFIG_VERSION with it."""
    assert config_id(parse(good, "x")) == "config1-8fbb9621dd6e95c5c40c524138eab3db"


def test_a_setting_that_a_later_version_adds_changes_no_id(good, monkeypatch):
    """A run that began before it was there can go on."""
    config = parse(good, "x")
    before, known = config_id(config), list(leaves(config))
    added = identity.Leaf(("strategy", "later"), "identity", 5, default=True)
    monkeypatch.setattr(identity, "leaves", lambda _: iter([*known, added]))
    assert config_id(config) == before
    chosen = identity.Leaf(("strategy", "later"), "identity", 5, default=False)
    monkeypatch.setattr(identity, "leaves", lambda _: iter([*known, chosen]))
    assert config_id(config) != before


def test_a_default_that_is_written_out_changes_no_id(good):
    assert config_id(parse(good, "x")) == config_id(parse(good, "x", ["evaluation.dtype=auto"]))
