"""What is derived from statistics must not wait for torch."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "statement",
    [
        "import evomerge.kinship.statistics, evomerge.kinship.estimates, evomerge.kinship.sample",
        "import evomerge.kinship.matching, evomerge.kinship.headers",
    ],
)
def test_torch_is_not_imported(statement):
    check = "import sys; sys.exit('torch' in sys.modules or 'safetensors' in sys.modules)"
    subprocess.run([sys.executable, "-c", f"{statement}; {check}"], check=True)
