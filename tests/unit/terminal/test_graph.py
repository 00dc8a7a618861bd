"""Family trees for other tools: what they say, and that no name can break them."""

import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evomerge.cli import cli
from evomerge.domain.errors import UsageError
from evomerge.terminal.graph import dot, members_of, mermaid

from .conftest import Story, first_generation

_NODE = re.compile(r'  m\d+\["[^"\n<>]*(<br/>[^"\n<>]*)*"\]:::[a-z]+')
_EDGE = re.compile(r"  m\d+ (-->|-\.->) m\d+")
_STYLE = re.compile(r"  (classDef [a-z]+|style m\d+) [a-z0-9#:,\- ]+")
_STRING = r'"(?:[^"\\\n]|\\.)*"'
_DOT_LINE = re.compile(
    rf"digraph lineage \{{|\}}|  label={_STRING};|  (node|edge) \[.*\];"
    rf'|  m\d+ \[label={_STRING}, fillcolor="#\w+"[^\]]*\];'
    r"|  \{ rank=same;( m\d+;)+ \}|  m\d+ -> m\d+( \[style=dashed\])?;"
)
HOSTILE = ['a"];x', "b\\", "c<script>", "d;--> `e` #quot; %%"]


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
    assert "58.40 ± 1.2<br/>gain" in labels[named["model-2-exp"]]


def test_a_lineage_is_the_model_and_its_ancestors(finished):
    names = members_of(finished.state, "model-2-exp")
    assert set(names) == {"alpha", "gamma", "delta", "model-1-2", "model-2-exp"}
    assert names.index("alpha") < names.index("model-1-2") < names.index("model-2-exp")


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_reads_it(finished):
    text = dot(finished.state, members_of(finished.state, None))
    drawn = subprocess.run(["dot", "-Tsvg"], input=text, capture_output=True, text=True)
    assert drawn.returncode == 0, drawn.stderr
    assert "model&#45;2&#45;exp" in drawn.stdout


def test_dot_keeps_to_its_syntax_whatever_a_name_holds():
    story = first_generation(Story(HOSTILE))
    text = dot(story.state, members_of(story.state, None))
    for line in text.splitlines():
        assert _DOT_LINE.fullmatch(line), line
    labels = re.findall(rf"m\d+ \[label=({_STRING})", text)
    first = [label[1:-1].split("\\n")[0] for label in labels[:4]]
    assert [re.sub(r"\\(.)", r"\1", label) for label in first] == HOSTILE


@given(st.text(min_size=1, max_size=40))
def test_mermaid_keeps_to_its_syntax_whatever_a_name_holds(name):
    story = Story([name, "other"])
    labels, _ = read_mermaid(mermaid(story.state, members_of(story.state, None)))
    assert labels["m0"].split("<br/>")[0] == " ".join(
        "".join(c if c.isprintable() else " " for c in name).split()
    )


@pytest.mark.parametrize("words", [["--json", "--dot"], ["--all"], ["model-1-1", "--all", "--dot"]])
def test_what_does_not_go_together_is_told(words, tmp_path):
    with pytest.raises(UsageError, match=r"two outputs|--all needs"):
        cli.main(["tree", "any", *words, "--dir", str(tmp_path)], standalone_mode=False)
