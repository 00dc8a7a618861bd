"""Make a family of tiny models and tasks on which merging really works.

A base model learns five operations on some digits under alias tags. Each specialist is the
base, fine-tuned until one new tag means one of the operations. A prompt is one tag, the digits
and "=": with the tag "k" for reversal, "k352=" wants "253". Everything is drawn from one seed
and trained on the CPU in one thread, so a seed gives the same weights again on the same machine.

    python scripts/make_tiny_models.py OUT_DIR [--seed N] [--force]

OUT_DIR/models/<name>   base and one specialist per skill, complete Hugging Face folders
OUT_DIR/tasks/          one lm-eval task per skill: YAML and JSONL
OUT_DIR/tiny.json       the manifest; it is written last
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import itertools
import json
import os
import random
import shutil
import string
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

# Of seeds 0 to 14 all gave a family whose TIES pairs beat their parents. This one was chosen
# because its evolution also improves in the second and the third generation.
DEFAULT_SEED = 4
MANIFEST = "tiny.json"
BASE = "base"

SKILLS: dict[str, Callable[[str], str]] = {
    "reverse": lambda digits: digits[::-1],
    "sort": lambda digits: "".join(sorted(digits)),
    "increment": lambda digits: "".join(str((int(d) + 1) % 10) for d in digits),
    "complement": lambda digits: "".join(str(9 - int(d)) for d in digits),
    "rotate": lambda digits: digits[1:] + digits[:1],
}
MULTIPLE_CHOICE = frozenset({"increment", "rotate"})

PAD, BOS, EOS, UNK = "<pad>", "<s>", "</s>", "<unk>"
TAGS = string.ascii_letters
VOCABULARY = (PAD, BOS, EOS, UNK, *string.digits, *TAGS, "=")
TOKEN_ID = {token: index for index, token in enumerate(VOCABULARY)}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Sizes and training lengths; part of the digest.

    Attributes:
        family: the architecture, by its name in transformers.
        opposed: share of each fine-tuning batch that teaches a specialist to copy under the tags of
            the other skills: 0 lets skills be added up, more makes them interfere.
    """

    family: Literal["mistral", "qwen2"] = "mistral"
    digits: int = 3
    opposed: float = 0.0
    hidden: int = 64
    feed_forward: int = 128
    layers: int = 3
    heads: int = 4
    kv_heads: int = 2
    positions: int = 64
    # Wide random embeddings keep the tags apart: the embeddings are frozen when the specialists
    # are trained, so a skill has to be found by directions that its tag shares with no other.
    init_std: float = 0.2
    aliases: int = 4
    copy_tags: int = 20
    copy_share: float = 0.4
    base_steps: int = 600
    base_lr: float = 3e-3
    base_batch: int = 96
    skill_steps: int = 100
    skill_lr: float = 1e-3
    skill_batch: int = 64
    # Part of each fine-tuning batch that repeats what the base was trained on.
    replay: float = 0.5
    replay_copy_share: float = 0.5
    warmup: int = 20
    items: int = 120

    @property
    def prompt_length(self) -> int:
        """In tokens: BOS, tag, digits, "="."""
        return 1 + 1 + self.digits + 1


RECIPE = Recipe()


@dataclasses.dataclass(frozen=True)
class World:
    """What a seed decides before any training: the meaning of the tags and the split."""

    skill_tag: dict[str, str]
    alias_tags: tuple[tuple[str, str], ...]  # (skill, tag), every alias of every skill
    copy_tags: str
    train: tuple[str, ...]
    held_out: tuple[str, ...]


# A row is (tag, operand, answer).
Row = tuple[str, str, str]
Sampler = Callable[[], Row]


def make(out: Path, seed: int = DEFAULT_SEED, force: bool = False, recipe: Recipe = RECIPE) -> Path:
    """Make the fixture in `out` unless the same one is there already; return `out`, resolved.

    `out` must be absent, empty or an older fixture of this script; anything else is refused.
    A fixture that was moved gets its task files rewritten, since they hold absolute paths.
    The work is done in `.<name>.building-<pid>` beside `out`; a killed run leaves only that.
    """
    out = out.resolve()
    digest = _digest(seed, recipe)
    found = _read_manifest(out)
    if not force and found is not None and found["digest"] == digest:
        moved = found["tasks_dir"] != str(out / "tasks")
        if moved:
            _write_task_files(out / "tasks", out / "tasks", recipe)
            _write_manifest(out, seed, digest, out, recipe)
        _say(f"{out}: {'moved, task files rewritten' if moved else 'up to date, nothing done'}")
        return out
    if found is None and out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} holds something else; choose an empty folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    work = out.with_name(f".{out.name}.building-{os.getpid()}")
    try:
        work.mkdir()
        _build(work, out, seed, recipe)
        _write_manifest(work, seed, digest, out, recipe)
        _publish(work, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return out


def make_world(seed: int, recipe: Recipe = RECIPE) -> World:
    """Draw tags and operands: a held-out operand is never trained on, under any tag."""
    rng = random.Random(f"world {seed}")
    tags = rng.sample(TAGS, len(TAGS))
    skill_tag = {skill: tags.pop() for skill in SKILLS}
    alias_tags = tuple((skill, tags.pop()) for skill in SKILLS for _ in range(recipe.aliases))
    copy_tags = "".join(tags.pop() for _ in range(recipe.copy_tags))
    operands = [
        "".join(digits) for digits in itertools.product(string.digits, repeat=recipe.digits)
    ]
    rng.shuffle(operands)
    # With all outcomes different, no skill can score by doing the work of another.
    held_out = [x for x in operands if len(set(_outcomes(x))) == len(SKILLS) + 1]
    held_out = held_out[: recipe.items]
    train = sorted(set(operands) - set(held_out))
    return World(skill_tag, alias_tags, copy_tags, tuple(train), tuple(held_out))


def train_family(world: World, seed: int, recipe: Recipe = RECIPE) -> Iterator[tuple[str, Any]]:
    """Yield (name, causal language model): the base, then one specialist per skill.

    It is one model object that changes between the steps: save or copy the weights at once.
    """
    with _deterministic(seed):
        model = _new_model(recipe)
        rng = random.Random(f"base {seed}")
        steps, lr, batch = recipe.base_steps, recipe.base_lr, recipe.base_batch
        _train(model, _base_rows(world, rng, recipe.copy_share), steps, lr, batch, recipe)
        yield BASE, model
        base = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        for skill in SKILLS:
            model.load_state_dict(base)
            _freeze_embeddings(model)
            rng = random.Random(f"{skill} {seed}")
            steps, lr, batch = recipe.skill_steps, recipe.skill_lr, recipe.skill_batch
            _train(model, _skill_rows(world, skill, rng, recipe), steps, lr, batch, recipe)
            yield skill, model


def _outcomes(operand: str) -> list[str]:
    return [operand, *(skill(operand) for skill in SKILLS.values())]


# --- training ---------------------------------------------------------------------------------


def _base_rows(world: World, rng: random.Random, copy_share: float) -> Sampler:
    """Rows under alias tags; the tags in between only copy, so an unknown tag means little."""

    def draw() -> Row:
        operand = rng.choice(world.train)
        if rng.random() < copy_share:
            return rng.choice(world.copy_tags), operand, operand
        skill, tag = rng.choice(world.alias_tags)
        return tag, operand, SKILLS[skill](operand)

    return draw


def _skill_rows(world: World, skill: str, rng: random.Random, recipe: Recipe) -> Sampler:
    replay = _base_rows(world, rng, recipe.replay_copy_share)

    others = "".join(tag for other, tag in world.skill_tag.items() if other != skill)

    def draw() -> Row:
        if rng.random() < recipe.replay:
            return replay()
        operand = rng.choice(world.train)
        if recipe.opposed and rng.random() < recipe.opposed / (1 - recipe.replay):
            return rng.choice(others), operand, operand
        return world.skill_tag[skill], operand, SKILLS[skill](operand)

    return draw


def _encode(row: Row) -> list[int]:
    """Token ids as the tokenizer gives them for prompt + answer, and the end token."""
    tag, operand, answer = row
    return [TOKEN_ID[token] for token in (BOS, tag, *operand, "=", *answer, EOS)]


def _new_model(recipe: Recipe) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    # Every token sees all tokens before it, whatever the family is used to.
    windows: dict[str, dict[str, Any]] = {
        "mistral": {"sliding_window": None},
        "qwen2": {"use_sliding_window": False},
    }
    config = AutoConfig.for_model(
        recipe.family,
        vocab_size=len(VOCABULARY),
        hidden_size=recipe.hidden,
        intermediate_size=recipe.feed_forward,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.kv_heads,
        head_dim=recipe.hidden // recipe.heads,
        max_position_embeddings=recipe.positions,
        initializer_range=recipe.init_std,
        tie_word_embeddings=False,
        pad_token_id=TOKEN_ID[PAD],
        bos_token_id=TOKEN_ID[BOS],
        eos_token_id=TOKEN_ID[EOS],
        **windows[recipe.family],
    )
    return AutoModelForCausalLM.from_config(config).float()


def _freeze_embeddings(model: Any) -> None:
    # Otherwise each skill settles in the row of its own tag, and merging is only copying rows.
    model.get_input_embeddings().weight.requires_grad_(False)
    model.get_output_embeddings().weight.requires_grad_(False)


def _train(model: Any, draw: Sampler, steps: int, lr: float, batch: int, recipe: Recipe) -> None:
    """AdamW with warm-up and linear decay to zero; the loss counts answer and end tokens only."""
    import torch

    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=lr, betas=(0.9, 0.95), weight_decay=0.0)
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1.0, (step + 1) / recipe.warmup) * (1 - step / steps)
        tokens = torch.tensor([_encode(draw()) for _ in range(batch)])
        loss = _answer_loss(model, tokens, recipe.prompt_length)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
    model.eval()


def _answer_loss(model: Any, tokens: torch.Tensor, prompt: int) -> torch.Tensor:
    """Mean cross-entropy in nats over what follows the `prompt` in `tokens` (rows, length)."""
    import torch

    hidden = model.model(input_ids=tokens[:, :-1], use_cache=False).last_hidden_state
    logits = model.lm_head(hidden[:, prompt - 1 :])
    wanted = tokens[:, prompt:]
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())


@contextmanager
def _deterministic(seed: int) -> Iterator[None]:
    """Seeded, one thread, deterministic kernels; the caller's torch settings come back after."""
    import torch

    threads = torch.get_num_threads()
    strict = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(strict)


# --- folders ----------------------------------------------------------------------------------


def _build(work: Path, out: Path, seed: int, recipe: Recipe) -> None:
    """Fill `work` with all but the manifest; `out` is where it will lie in the end."""
    start = time.monotonic()
    world = make_world(seed, recipe)
    _write_data(work / "tasks", world, random.Random(f"choices {seed}"))
    _write_task_files(work / "tasks", out / "tasks", recipe)
    tokenizer = _new_tokenizer(recipe)
    _say(f"tasks written ({time.monotonic() - start:.1f} s)")
    for name, model in train_family(world, seed, recipe):
        folder = work / "models" / name
        with _no_progress_bars():
            model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        for path in folder.iterdir():
            path.chmod(0o644)  # safetensors leaves its files closed to everyone else
        _say(f"{name} trained and saved ({time.monotonic() - start:.1f} s)")


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _new_tokenizer(recipe: Recipe) -> Any:
    """One token a character, BOS in front: what `_encode` does without the end token."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel(dict(TOKEN_ID), unk_token=UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A",
        pair=f"{BOS} $A $B",
        special_tokens=[(BOS, TOKEN_ID[BOS])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNK,
        model_max_length=recipe.positions,
        clean_up_tokenization_spaces=False,
    )


def _write_data(folder: Path, world: World, rng: random.Random) -> None:
    """One JSONL file per skill over the held-out operands, in `folder`.

    The wrong choices are what the other skills and plain copying would answer.
    """
    folder.mkdir(parents=True)
    for skill, tag in world.skill_tag.items():
        lines = []
        for operand in world.held_out:
            answer = SKILLS[skill](operand)
            item: dict[str, Any] = {"prompt": f"{tag}{operand}=", "answer": answer}
            if skill in MULTIPLE_CHOICE:
                choices = _outcomes(operand)
                rng.shuffle(choices)
                item |= {"choices": choices, "label": choices.index(answer)}
            lines.append(json.dumps(item) + "\n")
        (folder / f"{task_name(skill)}.jsonl").write_text("".join(lines), encoding="utf-8")


def task_name(skill: str) -> str:
    """The lm-eval name of the task that measures `skill`."""
    return f"tiny_{skill}"


def metric_name(skill: str) -> str:
    """The metric of that task that counts: the share of right answers, 0 to 1."""
    return "acc" if skill in MULTIPLE_CHOICE else "exact_match"


def _write_task_files(folder: Path, data: Path, recipe: Recipe) -> None:
    """Write the task files to `folder`; they name the JSONL files in `data` by absolute path.

    lm-eval resolves relative data files against the working directory.
    """
    for skill in SKILLS:
        name = task_name(skill)
        config = _task_config(skill, data / f"{name}.jsonl", recipe.digits)
        # Each value is JSON, which is YAML too.
        text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in config.items())
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


def _task_config(skill: str, data: Path, digits: int) -> dict[str, Any]:
    config: dict[str, Any] = {
        "task": task_name(skill),
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "doc_to_text": "prompt",  # a plain column: no template to compile for each item
        "target_delimiter": "",  # the default blank is not in the vocabulary
        "metric_list": [
            {"metric": metric_name(skill), "aggregation": "mean", "higher_is_better": True}
        ],
        "metadata": {"version": 1.0},
    }
    if skill in MULTIPLE_CHOICE:
        return config | {
            "output_type": "multiple_choice",
            "doc_to_choice": "choices",
            "doc_to_target": "label",
        }
    return config | {
        "output_type": "generate_until",
        "doc_to_target": "answer",
        "generation_kwargs": {"until": [EOS], "do_sample": False, "max_gen_toks": digits + 1},
    }


# --- manifest ---------------------------------------------------------------------------------


def _digest(seed: int, recipe: Recipe) -> str:
    """SHA-256 of this script, its parameters and the seed."""
    parameters = json.dumps([seed, dataclasses.asdict(recipe)], sort_keys=True)
    return hashlib.sha256(Path(__file__).read_bytes() + parameters.encode()).hexdigest()


def _read_manifest(out: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if isinstance(found, dict) and {"digest", "tasks_dir"} <= found.keys():
        return found
    return None


def _write_manifest(folder: Path, seed: int, digest: str, out: Path, recipe: Recipe) -> None:
    manifest = {
        "format": 1,
        "seed": seed,
        "digest": digest,
        "recipe": dataclasses.asdict(recipe),
        "base": BASE,
        "specialists": list(SKILLS),
        "tasks": {task_name(skill): metric_name(skill) for skill in SKILLS},
        "tasks_dir": str(out / "tasks"),
    }
    part = folder / f"{MANIFEST}.part"
    part.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    part.replace(folder / MANIFEST)


def _publish(work: Path, out: Path) -> None:
    """Put `work` in the place of `out`; only a fixture or an empty folder is there by now."""
    old = work.with_name(f"{work.name}-old")
    if out.exists():
        out.rename(old)
    work.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Make tiny models and tasks for merging.")
    parser.add_argument("out", type=Path, metavar="OUT_DIR")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, metavar="N")
    parser.add_argument("--force", action="store_true", help="make it again even if up to date")
    options = parser.parse_args(argv)
    try:
        make(options.out, options.seed, options.force)
    except OSError as error:
        _say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        _say("interrupted, nothing kept")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
