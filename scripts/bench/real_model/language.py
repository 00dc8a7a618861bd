"""Perplexity on plain text, which shows what a merge costs in language.

Three texts that neither the specialists nor the anchor of `regmean_pp` have anything in common
with: a story and a licence, both written for this fixture so that no model can know them by heart,
and docstrings of the standard library.
"""

from __future__ import annotations

import argparse
import difflib
import inspect
import math
import shutil
import statistics
import textwrap
from pathlib import Path

MOST_TOKENS = 640
"""Of each text; the first one is not predicted."""


def texts() -> dict[str, str]:
    """The texts by name; the docstrings are those of the running Python."""
    here = Path(__file__).parent
    documented = [
        member
        for module in (difflib, shutil, statistics, textwrap, argparse)
        for member in (module, *(getattr(module, name) for name in module.__all__))
    ]
    found = [doc for each in documented if (doc := inspect.getdoc(each)) and len(doc) > 80]
    return {
        "fiction": (here / "fiction.txt").read_text(encoding="utf-8"),
        "docstrings": "\n\n".join(found),
        "licence": (here / "licence.txt").read_text(encoding="utf-8"),
    }


def perplexities(folder: Path) -> dict[str, float]:
    """The perplexity per token of the model in a folder, on the beginning of each text."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()
    found = {}
    for name, text in texts().items():
        tokens = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
        tokens = tokens[:, :MOST_TOKENS]
        with torch.no_grad():
            logits = model(input_ids=tokens[:, :-1]).logits[0]
        losses = torch.nn.functional.cross_entropy(logits.float(), tokens[0, 1:])
        found[name] = math.exp(float(losses))
    return found
