"""Family trees for other tools: what they say, and that no name can break them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evomerge.cli import cli
from evomerge.domain.errors import UsageError
from evomerge.terminal.graph import members_of, mermaid

from .conftest import Story

_NODE = re.compile(r'  m\d+\["[^"\n<>]*(<br/>[^"\n<>]*)*"\]:::[a-z]+')
_EDGE = re.compile(r"  m\d+ (-->|-\.->) m\d+")
_STYLE = re.compile(r"  (classDef [a-z]+|style m\d+) [a-z0-9#:,\- ]+")


def read_mermaid(text):
    """(labels by node, edges); every line must be of Mermaid's flowchart syntax."""
    head, *lines = text.splitlines()
    assert head == "flowchart TB"
    for line in lines:
        assert _NODE.fullmatch(line) or _EDGE.fullmatch(line) or _STYLE.fullmatch(line), line
    nodes = dict(re.findall(r'(m\d+)\["(.*?)"\]', text))
    edges = re.findall(r"(m\d+) (?:-->|-\.->) (m\d+)", text)
    unescaped = {
        node: re.sub(r"#(\d+);", lambda m: chr(int(m[1])), label) for node, label in nodes.items()
    }
    return unescaped, edges


def test_mermaid_tells_the_tree(finished):
    state = finished.state
    labels, edges = read_mermaid(mermaid(state, members_of(state, None)))
    assert len(labels) == len(state.models)
    named = {label.split("<br/>")[0]: node for node, label in labels.items()}
    assert {(b, a) for a, b in edges} == {
        (named[m.name], named[p]) for m in state.models.values() for p in m.parents
    }
    assert "failed: merge" in labels[named["model-1-6"]]
    assert "58.40 ± 2.4<br/>over parents" in labels[named["model-2-exp"]]


def test_a_lineage_is_the_model_and_its_ancestors(finished):
    names = members_of(finished.state, "model-2-exp")
    assert set(names) == {"alpha", "gamma", "delta", "model-1-2", "model-2-exp"}
    assert names.index("alpha") < names.index("model-1-2") < names.index("model-2-exp")


@given(st.text(min_size=1, max_size=40))
def test_mermaid_keeps_to_its_syntax_whatever_a_name_holds(name):
    story = Story([name, "other"])
    labels, _ = read_mermaid(mermaid(story.state, members_of(story.state, None)))
    assert labels["m0"].split("<br/>")[0] == " ".join(
        "".join(c if c.isprintable() else " " for c in name).split()
    )


@pytest.mark.parametrize(
    "words",
    [["--json", "--mermaid"], ["--all"], ["model-1-1", "--all", "--mermaid"]],
)
def test_what_does_not_go_together_is_told(words, tmp_path):
    with pytest.raises(UsageError, match=r"two outputs|--all needs"):
        cli.main(["tree", "any", *words, "--dir", str(tmp_path)], standalone_mode=False)
