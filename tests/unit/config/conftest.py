import pytest

GOOD = """\
run: {name: trial}
base_model: org/base
foundation_models:
  - org/one
  - {model: org/two@main, name: Two}
  - model: ./models/three
strategy:
  name: kinship
  k: 3
merge:
  method: ties
  parameters:
    density: 0.5
    weight:
      filters: {mlp: [0.2, 1], self_attn.q: 1e-1}
      default: 0.5
kinship: {metric: cosine, exclude: [lm_head.*]}
evaluation:
  tasks:
    - first
    - name: second
      weight: 2
  model_args: {attn_implementation: eager, low: 1}
stopping:
  - pool_unchanged
  - no_improvement: {patience: 2}
execution:
  devices: [cpu, cpu]
"""


@pytest.fixture
def good() -> str:
    return GOOD
