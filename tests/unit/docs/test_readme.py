"""What the README and its pages tell to type is what evomerge takes."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from evomerge.cli import COMMANDS, cli

ROOT = Path(__file__).parents[3]
PAGES = (
    "README.md",
    "evomerge/README.md",
    "evomerge/kinship/README.md",
    "evomerge/significance/README.md",
    "evomerge/ui/README.md",
    "configs/README.md",
)
TEXT = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in PAGES)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_PLAIN = re.sub(r"^```.*?^```$", "", TEXT, flags=re.DOTALL | re.MULTILINE)
RUN, MODEL = "paper-kinship", "model-2-1"
# Quick, and they need neither weights nor a hub: these are really run.
RUNNABLE = {
    "init", "validate", "status", "list", "tree", "show", "compare", "replay", "digest", "slurm",
    "gc", "schema",
}  # fmt: skip


def blocks(language: str) -> list[str]:
    return [text for kind, text in _BLOCK.findall(TEXT) if kind == language]


def words(line: str) -> list[str]:
    """A command line's words, without its comment and redirection."""
    return shlex.split(line.split(" > ", 1)[0], comments=True)


def typed() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    once = dict.fromkeys(tuple(words(line)) for line in lines if line.strip())
    return [list(line) for line in once]


EVOMERGE = [line[1:] for line in typed() if line[0] == "evomerge"]
OTHERS = [line for line in typed() if line[0] != "evomerge"]
INLINE = [words(text)[1:] for text in re.findall(r"`(evomerge [^`]+)`", _PLAIN.replace("\n", " "))]


def context(arguments: list[str]) -> click.Context:
    """What click makes of a command line: every option known, every value of its type."""
    found = cli.get_command(click.Context(cli), arguments[0])
    assert found is not None, f"no command {arguments[0]}"
    return found.make_context(arguments[0], [*arguments[1:]])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the README's examples lie: a config, recorded runs, the files that it names."""
    monkeypatch.chdir(tmp_path)
    for name in ("configs", "tests/golden/paper", "runs/paper-kinship", "runs/paper-greedy"):
        shutil.copytree(ROOT / name, tmp_path / name)
    assert run("init", "my.yaml").exit_code == 0
    for name, arm in (("my-greedy", "greedy"), ("my-kinship", "kinship"), ("RUN", "kinship")):
        shutil.copytree(ROOT / "runs" / f"paper-{arm}", tmp_path / "runs" / name)
    return tmp_path


def run(*arguments: str):
    return CliRunner().invoke(cli, arguments)


def test_there_is_something_to_try():
    assert len(EVOMERGE) > 30
    assert len(INLINE) > 10


@pytest.mark.parametrize("arguments", EVOMERGE, ids=" ".join)
def test_a_command_is_understood(arguments, folder):
    context(arguments).close()


@pytest.mark.parametrize("arguments", INLINE, ids=" ".join)
def test_a_command_in_the_text_exists(arguments):
    """In the text arguments may be left out; what is there must be an option of the command."""
    if arguments[0].startswith("-"):
        assert arguments[0] in {"--help", "--version"}
        return
    found = cli.get_command(click.Context(cli), arguments[0])
    assert found is not None
    known = {name for option in found.params for name in option.opts} | {"--help"}
    assert {word for word in arguments if word.startswith("--")} <= known


@pytest.mark.parametrize(
    "arguments", [line for line in EVOMERGE if line[0] in RUNNABLE], ids=" ".join
)
def test_a_command_works(arguments, folder):
    if arguments[0] == "init":
        arguments = [arguments[0], "other.yaml"]
    if "paper-kinship" in arguments:
        shutil.rmtree(folder / "runs" / "paper-kinship")  # what --save makes
    given = [word for word in arguments if word != "…"]
    if given.count("RUN") == 2:
        given[given.index("RUN")] = "paper-greedy"
    done = run(*given)
    assert done.exit_code == 0, done.output + str(done.exception)
    if "--html" in given:
        assert (folder / given[given.index("--html") + 1]).stat().st_size > 10_000


def test_a_wrong_line_is_seen(folder):
    with pytest.raises(AssertionError):
        context(["evolve", "my.yaml"])
    with pytest.raises(click.NoSuchOption):
        context(["status", "RUN", "--no-such-option"])
    with pytest.raises(click.UsageError):
        context(["export", "RUN"])


def test_every_command_is_told():
    told = {arguments[0] for arguments in [*EVOMERGE, *INLINE]}
    assert set(COMMANDS) - told == set()


@pytest.mark.parametrize("line", OTHERS, ids=" ".join)
def test_other_commands_are_there(line):
    if line[0].startswith("./"):
        assert os.access(ROOT / line[0], os.X_OK)
    else:
        assert line[0] == "sbatch"


def test_scripts_and_extras_that_it_names_exist():
    scripts = re.findall(r"`(?:python |\./)?(scripts/[\w./-]+)", TEXT)
    assert scripts
    assert [name for name in scripts if not (ROOT / name).exists()] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name for text in re.findall(r"\[(\w+)\]'`", TEXT) for name in text.split(",")}
    assert extras
    assert extras <= set(project["optional-dependencies"])


@pytest.mark.parametrize("text", blocks("yaml"))
def test_its_configs_are_valid(text, tmp_path):
    path = tmp_path / "readme.yaml"
    path.write_text(text, encoding="utf-8")
    done = run("validate", str(path))
    assert done.exit_code == 0, done.exception


@pytest.mark.parametrize("text", blocks("json"))
def test_its_landscapes_replay(text, tmp_path):
    path = tmp_path / "landscape.json"
    path.write_text(text, encoding="utf-8")
    done = run("replay", str(path), "--json")
    assert done.exit_code == 0, done.exception
    proposed = json.loads(done.stdout)["generations"][0]
    assert proposed[0]["model"] == json.loads(text)["children"][0]["model"]
