"""Memory does not grow with the models."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

CHILD = """
import sys
from pathlib import Path
import torch
from evomerge.kinship.stream import measure

def peak():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024

def run(base):
    folder = Path(sys.argv[1])
    models = {name: folder / name for name in ("a", "b", "c")}
    measure(folder / base, models, base_id="base")

torch.set_num_threads(1)
torch.bmm(torch.ones(2, 8, 1024), torch.ones(2, 1024, 8))
before = peak()
run("base")
print(peak() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_peak_memory_is_a_fraction_of_the_models(workshop):
    """240 MB of weights, most of them in one tensor."""
    weights = {"big": torch.ones(28_000, 1024), "small": torch.ones(2_000, 1024)}
    for name in ("base", "a", "b", "c"):
        workshop.write(name, {key: weight.bfloat16() for key, weight in weights.items()})
    command = [sys.executable, "-c", CHILD, str(workshop.folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert float(done.stdout) < 40
