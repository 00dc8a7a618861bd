"""What is derived from statistics must not wait for torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

import evomerge.kinship


@pytest.mark.parametrize(
    "statement",
    [
        "import evomerge.kinship",
        "from evomerge.kinship import Pass, Statistics, missing_pairs, KinshipError",
        "import evomerge.kinship.matching, evomerge.kinship.headers",
    ],
)
def test_torch_is_not_imported(statement):
    check = "import sys; sys.exit('torch' in sys.modules or 'safetensors' in sys.modules)"
    subprocess.run([sys.executable, "-c", f"{statement}; {check}"], check=True)


def test_importing_the_package_imports_not_even_numpy():
    check = "import sys; sys.exit('numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", f"import evomerge.kinship; {check}"], check=True)


def test_public_names_are_there_and_others_are_not():
    for name in evomerge.kinship.__all__:
        if name != "measure":
            assert getattr(evomerge.kinship, name)
    with pytest.raises(AttributeError, match="nothing"):
        _ = evomerge.kinship.nothing
