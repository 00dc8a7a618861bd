"""The four skills of the real-model fixture: generated items and lm-eval tasks.

Answers are short and exact, so that a model of 135M parameters can learn a skill in about 100
steps and a task is scored by exact match. Scored prompts are never trained on.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

CALIBRATION = 52
"""Items of each task that `regmean_pp` sees; they are never scored."""

SELECTION, HELD_OUT = 40, 75
"""Items of each task that choose the winner of a run, and that are scored only for winners."""

LONGEST = 12
"""Tokens of an answer, at most."""

WORDS = (Path(__file__).parent / "words.txt").read_text(encoding="utf-8").split()
PEOPLE = (
    *("Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hana"),
    *("Ivan", "June", "Kofi", "Lena", "Mia", "Noor", "Omar", "Pia"),
)
THINGS = (
    *("apples", "books", "coins", "cards", "eggs", "keys"),
    *("marbles", "pens", "shells", "stamps", "tickets", "stones"),
)
NUMERALS = (
    *((1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L")),
    *((40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")),
)


@dataclass(frozen=True)
class Item:
    """A prompt in the format of the base model's chats, and the one right answer."""

    prompt: str
    answer: str

    @classmethod
    def of(cls, question: str, answer: str) -> Item:
        """The item of a question, without a system prompt."""
        return cls(f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n", answer)


def _arithmetic(rng: random.Random) -> Item:
    who, what = rng.choice(PEOPLE), rng.choice(THINGS)
    many, few = rng.randint(12, 79), rng.randint(3, 19)
    boxes, each = rng.randint(2, 9), rng.randint(2, 9)
    first, second = rng.randint(3, 30), rng.randint(3, 30)
    stories: tuple[tuple[str, int], ...] = (
        (f"has {many} {what} and finds {few} more.", many + few),
        (f"had {many + few} {what} and gave away {few}.", many),
        (f"fills {boxes} boxes with {each} {what} each.", boxes * each),
        (f"shares {boxes * each} {what} equally among {boxes} friends. One friend's part?", each),
        (f"buys {first} {what}, then {second}, and loses {boxes}.", first + second - boxes),
    )
    story, answer = rng.choice(stories)
    end = "" if story.endswith("?") else f" How many {what} is that?"
    return Item.of(f"{who} {story}{end}", str(answer))


def _roman(rng: random.Random) -> Item:
    number = rng.randint(1, 1999)
    rest, numeral = number, ""
    for value, letters in NUMERALS:
        numeral += letters * (rest // value)
        rest %= value
    return Item.of(f"Write {number} as a Roman numeral.", numeral)


def _sorting(rng: random.Random) -> Item:
    words = rng.sample(WORDS, rng.choice((3, 4)))
    return Item.of(f"Sort these words: {', '.join(words)}", ", ".join(sorted(words)))


def _acronym(rng: random.Random) -> Item:
    words = rng.sample(WORDS, rng.choice((3, 4, 5)))
    return Item.of(
        f"What is the acronym of {' '.join(words).title()}?",
        "".join(word[0] for word in words).upper(),
    )


@dataclass(frozen=True)
class Skill:
    """A skill: how its items are drawn, and the steps of its fine-tuning."""

    draw: Callable[[random.Random], Item]
    steps: int


SKILLS = {
    "arithmetic": Skill(_arithmetic, 80),
    "roman": Skill(_roman, 90),
    "sorting": Skill(_sorting, 50),
    "acronym": Skill(_acronym, 90),
}


def scored(skill: str, count: int) -> list[Item]:
    """The first `count` items that score a skill, with different prompts."""
    rng = random.Random(f"scored {skill}")
    found: dict[str, Item] = {}
    while len(found) < count:
        item = SKILLS[skill].draw(rng)
        found.setdefault(item.prompt, item)
    return list(found.values())


def trained(skill: str, seed: int) -> Iterator[Item]:
    """Endless items for fine-tuning; none has the prompt of a scored one."""
    rng = random.Random(f"trained {skill} {seed}")
    avoided = {item.prompt for item in scored(skill, HELD_OUT + 2 * CALIBRATION)}
    while True:
        item = SKILLS[skill].draw(rng)
        if item.prompt not in avoided:
            yield item


def task_name(skill: str, *, held_out: bool = False) -> str:
    """The name in lm-eval of a skill's task, or of the task of its held-out items."""
    return f"smol_{skill}_held_out" if held_out else f"smol_{skill}"


def write_tasks(folder: Path) -> None:
    """Write each skill's two lm-eval tasks: for selection and calibration, and held-out."""
    folder.mkdir(parents=True, exist_ok=True)
    for skill in SKILLS:
        items = scored(skill, HELD_OUT + 2 * CALIBRATION)
        _write_task(folder, task_name(skill, held_out=True), items[:HELD_OUT])
        _write_task(folder, task_name(skill), items[HELD_OUT:])


def _write_task(folder: Path, name: str, items: Sequence[Item]) -> None:
    data = folder / f"{name}.jsonl"
    rows = [{"prompt": item.prompt, "answer": item.answer} for item in items]
    data.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    task = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "prompt",
        "doc_to_target": "answer",
        "target_delimiter": "",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": LONGEST, "do_sample": False},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1},
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
