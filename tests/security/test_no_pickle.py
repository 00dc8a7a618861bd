"""Nothing pickled is read or written: no way to it stands in the code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import evomerge

CODE = sorted(Path(evomerge.__file__).parent.rglob("*.py"))
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
CALLS = {"eval", "exec", "compile", "__import__"}
LOADERS = {("torch", "load"), ("torch", "save"), ("yaml", "load"), ("yaml", "unsafe_load"),
           ("yaml", "full_load"), ("os", "system"), ("os", "popen")}  # fmt: skip


def faults(tree: ast.AST) -> list[str]:
    """What of this file could read or write a pickle, or run a text."""
    found = []
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    safe = {each.name for each in classes if "SafeLoader" in " ".join(map(ast.unparse, each.bases))}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            found.append(str(node.module))
        elif isinstance(node, ast.Call):
            found += _of_call(node, safe)
    return found


def _of_call(node: ast.Call, safe_loaders: set[str]) -> list[str]:
    called = node.func
    keywords = {each.arg: each.value for each in node.keywords}
    if isinstance(called, ast.Name):
        return [called.id] if called.id in CALLS else []
    if not isinstance(called, ast.Attribute):
        return []
    owner = called.value.id if isinstance(called.value, ast.Name) else ""
    name = f"{owner}.{called.attr}"
    if name == "yaml.load" and ast.unparse(keywords.get("Loader", node)) in safe_loaders:
        return []
    if (owner, called.attr) in LOADERS:
        tensors_only = name == "torch.load" and ast.unparse(keywords.get("weights_only", node))
        return [] if tensors_only == "True" else [name]
    allowed = keywords.get("allow_pickle")
    if name == "np.load" and not (isinstance(allowed, ast.Constant) and allowed.value is False):
        return [f"{name} without allow_pickle=False"]
    shell = keywords.get("shell")
    return [f"{name}(shell=)"] if shell is not None else []


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(CODE[0].parent)))
def test_no_file_reads_or_writes_a_pickle_or_runs_a_text(path: Path) -> None:
    assert faults(ast.parse(path.read_text(encoding="utf-8"))) == []


def test_the_search_finds_what_it_looks_for() -> None:
    for text in ("import pickle", "from joblib import load", "torch.load(x)", "np.load(x)",
                 "torch.load(x, weights_only=y)",
                 "yaml.load(x)", "eval(x)", "subprocess.run(x, shell=True)"):  # fmt: skip
        assert faults(ast.parse(text)), text
    assert not faults(ast.parse("np.load(x, allow_pickle=False); yaml.safe_load(x); re.compile(x)"))
