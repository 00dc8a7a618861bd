"""Real lm-eval on tiny random models and local tasks; in this process but for the last test."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
)

from evomerge.adapters.lm_eval import child as lm_eval_child
from evomerge.adapters.lm_eval import probe
from evomerge.adapters.lm_eval.backends import ExpectedNames, Placement
from evomerge.adapters.lm_eval.data import DataSets, description
from evomerge.adapters.lm_eval.form import read_form
from evomerge.adapters.lm_eval.identity import evaluation_id
from evomerge.adapters.lm_eval.tasks import load_suites
from evomerge.adapters.lm_eval.worker import worker
from evomerge.config import EvaluationConfig
from evomerge.domain.errors import CandidateError, PreflightError
from evomerge.domain.scores import EvaluationWarning, Scores
from evomerge.execution.evaluation import Evaluation
from evomerge.ports import Operation, Progress
from tests.conftest import command

CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789=+:?. \n"
VOCABULARY = {text: i for i, text in enumerate(["<pad>", "<s>", "</s>", "<unk>", *CHARACTERS])}
CHAT = "{% for m in messages %}{{ m['role'][0] + ':' + m['content'] + '\n' }}{% endfor %}"
ITEMS = 40

CHOICE = """
task: pick
dataset_path: json
dataset_kwargs: {data_files: {test: items.jsonl, train: shots.jsonl}}
test_split: test
training_split: train
output_type: multiple_choice
doc_to_text: "{{prompt}}"
doc_to_target: label
doc_to_choice: "{{choices}}"
target_delimiter: ''
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
metadata: {version: 1.0}
"""
WRITE = """
task: write
dataset_path: json
dataset_kwargs: {data_files: {test: items.jsonl, train: shots.jsonl}}
test_split: test
training_split: train
output_type: generate_until
doc_to_text: prompt
doc_to_target: answer
target_delimiter: ''
generation_kwargs: {until: ["."], max_gen_toks: 4, do_sample: false}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
filter_list:
  - {name: whole, filter: [{function: take_first}]}
  - name: digits
    filter: [{function: regex, regex_pattern: "([0-9]+)"}, {function: take_first}]
metadata: {version: 1.0}
"""
GROUP = """
group: both
task: [pick, pick2]
aggregate_metric_list: [{metric: acc, aggregation: mean, weight_by_size: true}]
metadata: {version: 1.0}
"""


@pytest.fixture(autouse=True)
def _few_threads_and_no_session() -> None:
    torch.set_num_threads(1)
    _forget()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `a`, `b` (random models) and `tasks`."""
    folder = tmp_path_factory.mktemp("lm_eval")
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        MistralForCausalLM(_model_config()).save_pretrained(folder / name)
        _tokenizer().save_pretrained(folder / name)
    tasks = folder / "tasks"
    tasks.mkdir()
    draw = random.Random(0)
    rows = [_row("".join(draw.choices("0123456789", k=3))) for _ in range(ITEMS)]
    _dump(tasks / "items.jsonl", rows)
    _dump(tasks / "shots.jsonl", rows[:5])
    (tasks / "pick.yaml").write_text(CHOICE)
    (tasks / "pick2.yaml").write_text(CHOICE.replace("task: pick", "task: pick2"))
    (tasks / "write.yaml").write_text(WRITE)
    (tasks / "both.yaml").write_text(GROUP)
    return folder


def _model_config() -> MistralConfig:
    return MistralConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        vocab_size=64,
        max_position_embeddings=64,
        initializer_range=0.5,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        tie_word_embeddings=False,
    )


def _tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
    )
    fast.chat_template = CHAT
    return fast


def _row(digits: str) -> dict[str, Any]:
    answer = digits[::-1]
    choices = [answer, "000", "abc"]
    return {"prompt": f"rev:{digits}=", "answer": answer, "choices": choices, "label": 0}


def _dump(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def payload(world: Path) -> Callable[..., dict[str, Any]]:
    def make(*tasks: Any, **values: Any) -> dict[str, Any]:
        given = {"tasks": tasks, "include": [str(world / "tasks")], "split": "none", **values}
        config = EvaluationConfig.model_validate(given)
        return {
            "evaluation": config.model_dump(mode="json"),
            "trust_remote_code": False,
            "allow_pickle": False,
        }

    return make


PICK = {"name": "pick"}
WRITE_TASK = {"name": "write", "metric": "exact_match", "filter": "whole"}
Payload = Callable[..., dict[str, Any]]


def _silent(done: int, total: int) -> None: ...


_DO = {}


def _forget() -> None:
    """Go on as a child that was just started."""
    _DO.update(lm_eval_child.operations("cpu"))


def _asked(
    payload: dict[str, Any],
    model: Path,
    into: Path,
    part: str = "selection",
    progress: Progress = _silent,
) -> dict[str, Any]:
    arguments = {**payload, "split": part}
    operation = Operation(kind="score", arguments=arguments, inputs={"model": model}, into=into)
    return _DO["score"](operation, progress)


def _score(
    payload: dict[str, Any], model: Path, into: Path, part: str = "selection"
) -> dict[str, Any]:
    """What the child answers; of each task only the metric that counts."""
    into.mkdir(parents=True)
    result = _asked(payload, model, into, part)
    first = {task["task"]: task for task in reversed(result["tasks"])}
    return {**result, "tasks": list(reversed(first.values()))}


def _warnings(folder: Path) -> list[EvaluationWarning]:
    said = json.loads((folder / "warnings.json").read_text(encoding="utf-8"))
    return [EvaluationWarning.model_validate(each) for each in said]


def _config(payload: dict[str, Any]) -> EvaluationConfig:
    return EvaluationConfig.model_validate(payload["evaluation"])


def _description(payload: dict[str, Any], part: str = "selection") -> dict[str, Any]:
    """What the evaluation id rests on besides the config."""
    found: dict[str, Any] = description(load_suites(_config(payload), DataSets({}))[part])
    return found


def _written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _samples(folder: Path, task: str) -> list[dict[str, Any]]:
    lines = (folder / f"samples_{task}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _problems(payload: dict[str, Any]) -> list[str]:
    with pytest.raises(PreflightError) as raised:
        _DO["describe"](Operation(kind="describe", arguments=payload), _silent)
    return raised.value.message.splitlines()


# --- scores -------------------------------------------------------------------------------------


def test_scores_and_sample_logs(world: Path, payload: Payload, tmp_path: Path) -> None:
    result = _score(payload(PICK, {**WRITE_TASK, "limit": 7}), world / "a", tmp_path / "out")
    pick, write = result["tasks"]
    assert (pick["task"], pick["samples"], write["samples"]) == ("pick", ITEMS, 7)
    rows = _samples(tmp_path / "out", "pick")
    assert [row["doc_id"] for row in rows] == list(range(ITEMS))
    share = sum(row["metrics"]["acc"] for row in rows) / ITEMS
    assert pick["value"] == pytest.approx(100 * share)
    solved = [row["doc_id"] for row in rows if row["metrics"]["acc"]]
    assert int(pick["solved"], 16) == sum(1 << item for item in solved)
    assert 0 < pick["stderr"] < 100
    answers = [-response[0][0] for response in rows[0]["responses"]]
    assert min(answers) > 0
    written = _samples(tmp_path / "out", "write")
    assert [(row["doc_id"], row["filter"]) for row in written[:2]] == [(0, "whole"), (0, "digits")]
    assert {row["target"] for row in written[:2]} == {written[0]["doc"]["answer"]}


def test_a_score_does_not_depend_on_what_was_scored_before(
    world: Path, payload: Payload, tmp_path: Path
) -> None:
    sampled = (world / "tasks" / "write.yaml").read_text()
    tasks = tmp_path / "tasks"
    shutil.copytree(world / "tasks", tasks)
    (tasks / "write.yaml").write_text(
        sampled.replace("do_sample: false", "do_sample: true, temperature: 1.5")
    )
    asked = payload({**PICK, "fewshot": 1}, {**WRITE_TASK, "fewshot": 1}, include=[str(tasks)])
    first = _score(asked, world / "b", tmp_path / "fresh")
    _score(asked, world / "a", tmp_path / "between")
    second = _score(asked, world / "b", tmp_path / "later")
    _forget()
    _score(asked, world / "a", tmp_path / "before")
    third = _score(asked, world / "b", tmp_path / "after another")
    assert first == second == third
    assert (
        _written(tmp_path / "fresh")
        == _written(tmp_path / "later")
        == _written(tmp_path / "after another")
    )
    assert _written(tmp_path / "fresh") != _written(tmp_path / "between")


def test_progress_ends_at_the_number_of_requests(
    world: Path, payload: Payload, tmp_path: Path
) -> None:
    seen: list[tuple[int, int]] = []
    told = lambda done, total: seen.append((done, total))  # noqa: E731
    _asked(payload(PICK), world / "a", tmp_path, progress=told)
    assert not (tmp_path / "warnings.json").exists()
    assert seen[-1] == (3 * ITEMS, 3 * ITEMS)
    assert seen == sorted(seen)


def test_few_shot_examples(world: Path, payload: Payload, tmp_path: Path) -> None:
    _score(payload({**PICK, "fewshot": 2, "limit": 3}), world / "a", tmp_path / "out")
    prompt = _samples(tmp_path / "out", "pick")[0]["arguments"][0][0]
    assert prompt.count("rev:") == 3


def test_a_chat_template_belongs_to_the_model(
    world: Path, payload: Payload, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(world / "a", other)
    (other / "chat_template.jinja").write_text(CHAT.replace("+ ':'", "+ '='"))
    asked = payload({**PICK, "limit": 2}, chat_template=True, system_instruction="be brief")
    prompts = []
    for number, model in enumerate((world / "a", other, world / "a")):
        _score(asked, model, tmp_path / str(number))
        prompts.append(_samples(tmp_path / str(number), "pick")[0]["arguments"][0][0])
    assert prompts[0].startswith("s:be brief\nu:rev:")
    assert prompts[1].startswith("s=be brief\nu=rev:")
    assert prompts[2] == prompts[0]


def test_a_group_scores_its_aggregate(world: Path, payload: Payload, tmp_path: Path) -> None:
    result = _score(payload({"name": "both", "limit": 10}), world / "a", tmp_path / "out")
    (both,) = result["tasks"]
    assert both["samples"] == 20
    assert both["stderr"] is not None
    files = ["backend.json", "samples_pick.jsonl", "samples_pick2.jsonl"]
    assert sorted(_written(tmp_path / "out")) == files
    chosen = json.loads((tmp_path / "out" / "backend.json").read_text(encoding="utf-8"))
    assert (chosen["backend"], chosen["attention"], chosen["dtype"]) == ("hf", "sdpa", "float32")


def test_long_prompts_and_cut_answers_are_told(
    world: Path, payload: Payload, tmp_path: Path
) -> None:
    asked = payload({**PICK, "fewshot": 1}, {**WRITE_TASK, "limit": 5}, max_length=16)
    model = MistralForCausalLM.from_pretrained(world / "a")
    with torch.no_grad():  # a model that writes "a" for ever
        model.model.embed_tokens.weight.fill_(1)
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.lm_head.weight.zero_()
        model.lm_head.weight[VOCABULARY["a"]] = 1
    _save(model, tmp_path / "model")
    _score(asked, tmp_path / "model", tmp_path / "out")
    long, cut = _warnings(tmp_path / "out")
    assert long.sentence.startswith(
        f"task 'pick': {3 * ITEMS} of {3 * ITEMS} requests are longer than"
    )
    assert cut.sentence == "task 'write': 5 of 5 answers reached the token limit"


def test_items_without_a_right_answer_are_told(
    world: Path, payload: Payload, tmp_path: Path
) -> None:
    shutil.copytree(world / "tasks", tmp_path / "tasks")
    _dump(tmp_path / "tasks" / "items.jsonl", [_row("123"), {**_row("456"), "label": 9}])
    asked = payload(PICK, include=[str(tmp_path / "tasks")])
    _score(asked, world / "a", tmp_path / "out")
    (said,) = _warnings(tmp_path / "out")
    assert "1 of 2 items have an answer that is not among their choices" in said.sentence


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("task", [PICK, WRITE_TASK])
def test_weights_that_are_not_finite_fail(
    world: Path, payload: Payload, tmp_path: Path, task: dict[str, Any], value: float
) -> None:
    model = MistralForCausalLM.from_pretrained(world / "a")
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = value
    _save(model, tmp_path / "bad")
    with pytest.raises(CandidateError, match=r"up_proj\.weight holds numbers that are not finite"):
        _score(payload(task), tmp_path / "bad", tmp_path / "out")


@pytest.mark.parametrize(
    ("task", "message"), [(PICK, "log-likelihoods are not finite"), (WRITE_TASK, "logits")]
)
def test_finite_weights_that_overflow_fail(
    world: Path, payload: Payload, tmp_path: Path, task: dict[str, Any], message: str
) -> None:
    model = MistralForCausalLM.from_pretrained(world / "a")
    with torch.no_grad():
        model.lm_head.weight.fill_(3e38)
        model.lm_head.weight[::2] = -3e38
    _save(model, tmp_path / "bad")
    with pytest.raises(CandidateError, match=message):
        _score(payload(task), tmp_path / "bad", tmp_path / "out")


def test_a_model_that_lacks_a_tensor_is_refused(
    world: Path, payload: Payload, tmp_path: Path
) -> None:
    """Transformers would draw it at random, and vLLM would take what is in memory."""
    shutil.copytree(world / "a", tmp_path / "less")
    weights = load_file(tmp_path / "less" / "model.safetensors")
    del weights["model.layers.0.self_attn.k_proj.weight"]
    save_file(weights, tmp_path / "less" / "model.safetensors", {"format": "pt"})
    said = r"1 tensors are missing in its weight files: model\.layers\.0\.self_attn\.k_proj\.weight"
    with pytest.raises(CandidateError, match=said):
        _score(payload(PICK), tmp_path / "less", tmp_path / "out")


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", ["mistral", "llama", "qwen2", "qwen3", "gemma2", "phi3", "gpt2"])
def test_whole_models_lack_nothing(tmp_path: Path, family: str, tied: bool) -> None:
    sizes = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "vocab_size": 32,
        "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0,
        "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": tied,
    }  # fmt: skip
    config = AutoConfig.for_model(family, **sizes)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    form = read_form(tmp_path, "auto")
    assert form is not None
    assert ExpectedNames().missing(tmp_path, form, Placement("cpu")) == []
    first = min(form.tensors)
    less = replace(form, tensors={k: v for k, v in form.tensors.items() if k != first})
    assert ExpectedNames().missing(tmp_path, less, Placement("cpu")) == [first]


def _save(model: MistralForCausalLM, folder: Path) -> None:
    model.save_pretrained(folder)
    _tokenizer().save_pretrained(folder)


def test_pickled_weights_are_refused(world: Path, payload: Payload, tmp_path: Path) -> None:
    model = MistralForCausalLM.from_pretrained(world / "a")
    _save(model, tmp_path / "bad")
    (tmp_path / "bad" / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "bad" / "pytorch_model.bin")
    with pytest.raises(CandidateError, match="safetensors"):
        _score(payload(PICK), tmp_path / "bad", tmp_path / "out")


# --- selection and report are apart --------------------------------------------------------------


def test_the_parts_share_no_item_and_miss_none(
    world: Path, payload: Payload, tmp_path: Path
) -> None:
    tasks = tmp_path / "tasks"
    shutil.copytree(world / "tasks", tasks)
    rows = [{**_row(f"{number:03}"), "label": number % 4 // 3} for number in range(ITEMS)]
    _dump(tasks / "items.jsonl", rows)
    asked = payload(
        PICK,
        {**WRITE_TASK, "limit": 20},
        include=[str(tasks)],
        split={"held_out": 0.25},
        final_tasks=[{"name": "pick2", "limit": 15}],
    )
    prompts: dict[str, dict[str, list[str]]] = {}
    for part in ("held_out", "selection", "final", "held_out"):
        into = tmp_path / f"{part}-{part in prompts}"
        result = _score(asked, world / "a", into, part)
        expected = evaluation_id(_config(asked), _description(asked, part), part)
        assert result["evaluation_id"] == expected
        names = [task["task"] for task in result["tasks"]]
        logs = {name: _samples(into, name) for name in names}
        for name, lines in logs.items():
            assert all(rows[line["doc_id"]]["prompt"] == line["doc"]["prompt"] for line in lines)
            assert len({line["doc_id"] for line in lines}) == next(
                task["samples"] for task in result["tasks"] if task["task"] == name
            )
        seen = {name: [line["arguments"][0][0] for line in lines] for name, lines in logs.items()}
        assert prompts.setdefault(part, seen) == seen
    assert list(prompts["final"]) == ["pick2"]
    assert len(prompts["final"]["pick2"]) == 15
    for name, count, held_out in (("pick", ITEMS, 10), ("write", 20, 5)):
        dev, other = set(prompts["selection"][name]), set(prompts["held_out"][name])
        assert (len(dev), len(other)) == (count - held_out, held_out)
        assert dev | other == {row["prompt"] for row in rows[:count]}
    labels = {row["prompt"]: row["label"] for row in rows}
    assert sum(labels[prompt] for prompt in prompts["held_out"]["pick"]) in (2, 3)


def test_the_batch_size_is_chosen_by_the_longest_request_and_the_memory(
    world: Path, payload: Payload, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = payload(PICK, {**WRITE_TASK, "limit": 5}, batch_size="auto")
    operation = Operation(kind="probe", arguments=asked, inputs={"model": world / "a"})

    def chosen() -> int:
        size: int = _DO["probe"](operation, _silent)["batch_size"]
        return size

    lengths: set[int] = set()
    fits = probe._fits

    def noted(lm: Any, size: int, length: int) -> bool:
        lengths.add(length)
        return fits(lm, size, length)

    monkeypatch.setattr(probe, "_fits", noted)
    assert chosen() == probe.LARGEST
    (length,) = lengths
    assert 10 < length <= 64, "tokens of a prompt and its answer, within the window"
    for free in (10**6, 10**7):
        monkeypatch.setattr(probe, "available_memory", lambda free=free: free)
        logits = length * 64 * 12
        powers = [2**n for n in range(7)]
        assert chosen() == max(n for n in powers if n == 1 or 2 * n * logits < free / 4)


def test_a_task_too_small_to_split_is_an_error(payload: Payload) -> None:
    (problem,) = _problems(payload({**PICK, "limit": 9}, "pick2", split={}))
    assert problem.startswith("evaluation.tasks.0: task 'pick' has 9 items, too few to hold some")
    assert "set evaluation.split to none" in problem


def test_generation_settings_are_those_of_the_config(
    world: Path, payload: Payload, tmp_path: Path
) -> None:
    plain, short = payload(WRITE_TASK), payload(WRITE_TASK, gen_kwargs={"max_gen_toks": 1})
    _score(short, world / "a", tmp_path / "short")
    _forget()
    _score(plain, world / "a", tmp_path / "plain")
    longest = {
        name: max(len(line["responses"][0][0]) for line in _samples(tmp_path / name, "write"))
        for name in ("short", "plain")
    }
    assert longest["short"] == 1 < longest["plain"]
    assert _samples(tmp_path / "short", "write")[0]["arguments"][0][1]["until"] == ["."]


OWN_TYPE = """
from lm_eval.models.huggingface import HFLM


class Own(HFLM):
    def __init__(self, pretrained, flip=False, **others):
        super().__init__(pretrained=pretrained, **others)
        self.flip = flip

    def loglikelihood(self, requests, disable_tqdm=False):
        answers = super().loglikelihood(requests, disable_tqdm=disable_tqdm)
        return [(-value, greedy) for value, greedy in answers] if self.flip else answers


class Blind(Own):
    def __init__(self):
        raise AssertionError
"""


def test_a_model_type_of_ones_own(
    world: Path, payload: Payload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_type.py").write_text(OWN_TYPE)
    monkeypatch.syspath_prepend(tmp_path)
    plain = payload(PICK)
    own = payload(PICK, backend="own_type:Own")
    flipped = payload(PICK, backend="own_type:Own", model_args={"flip": True})
    scores = {}
    for name, asked in {"plain": plain, "own": own, "flipped": flipped}.items():
        result = _score(asked, world / "a", tmp_path / name)
        scores[name] = result["tasks"][0]["value"]
        described = _description(asked).get("model_type", {})
        assert described.get("function") == (None if name == "plain" else "Own")
    assert scores["own"] == scores["plain"] != scores["flipped"]
    (problem,) = _problems(payload(PICK, backend="own_type:Blind"))
    assert "takes no `pretrained`" in problem
    (problem,) = _problems(payload(PICK, backend="own_type:Absent"))
    assert problem.startswith("evaluation.backend: model type 'own_type:Absent' cannot be imported")


def test_an_unknown_model_type_names_its_like(payload: Payload) -> None:
    (problem,) = _problems(payload(PICK, backend="sglan"))
    assert "there is no model type 'sglan'; did you mean 'sglang'" in problem


# --- what is known before the first merge -------------------------------------------------------


def test_the_description_follows_the_data(world: Path, payload: Payload, tmp_path: Path) -> None:
    def described(folder: Path, **task: Any) -> Any:
        asked = payload({**PICK, **task}, include=[str(folder)])
        return _description(asked)

    moved = tmp_path / "moved"
    shutil.copytree(world / "tasks", moved)
    before = described(world / "tasks", limit=5)
    assert described(moved, limit=5) == before
    rows = [json.loads(line) for line in (moved / "items.jsonl").read_text().splitlines()]
    rows[20]["prompt"] = "rev:999="
    _dump(moved / "items.jsonl", rows)
    assert described(moved, limit=5) == before  # item 20 is not scored
    assert described(moved) != described(world / "tasks")
    assert described(moved, limit=5, fewshot=1) != before
    text = (moved / "pick.yaml").read_text()
    (moved / "pick.yaml").write_text(text.replace("delimiter: ''", "delimiter: ' '"))
    assert described(moved, limit=5) != before


def test_code_from_model_folders_is_part_of_the_id(payload: Payload) -> None:
    asked = payload(PICK)
    ids = [
        _DO["describe"](Operation(kind="describe", arguments={**asked, **code}), _silent)["ids"]
        for code in ({}, {"trust_remote_code": True}, {"allow_pickle": True})
    ]
    assert ids[0] == ids[2] != ids[1]


def test_data_files_beside_the_yaml(
    world: Path, payload: Payload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    beside = _description(payload(PICK))
    rows = [_row("123")] * 3
    _dump(tmp_path / "items.jsonl", rows)
    _dump(tmp_path / "shots.jsonl", rows)
    here = _description(payload(PICK))
    assert (beside["tasks"]["pick"]["items"], here["tasks"]["pick"]["items"]) == (ITEMS, 3)


def test_every_problem_at_once(payload: Payload) -> None:
    asked = payload(
        {"name": "pick", "metric": "ac"},
        {"name": "write", "metric": "exact_match"},
        {"name": "both", "metric": "acc_norm"},
        backend="vllm",
        model_args={"seed": 1},
    )
    count = torch.cuda.device_count()
    near = "there is no metric 'ac'; did you mean 'acc'? (metrics: acc, acc_norm)"
    _DO.update(lm_eval_child.operations("cuda:99"))
    assert _problems(asked) == [
        "evaluation.model_args.seed: this is set by evaluation.seed",
        "evaluation.backend: vllm is not installed: pip install 'evomerge[vllm]'",
        f"execution.devices: there is no cuda:99; {count} CUDA devices are usable here",
        f"evaluation.tasks.0.metric: task 'pick': {near}",
        "evaluation.tasks.1.filter: task 'write' has several; choose one of whole, digits",
        "evaluation.tasks.2.metric: task 'both': there is no metric 'acc_norm' (metrics: acc)",
    ]


def test_a_task_twice_through_a_group(payload: Payload) -> None:
    assert _problems(payload(PICK, "both")) == [
        "evaluation.tasks.1.name: task 'pick' is already scored as part of 'pick'"
    ]


def test_an_unknown_filter(payload: Payload) -> None:
    (problem,) = _problems(payload({**WRITE_TASK, "filter": "digit"}))
    assert "did you mean 'digits'? (filters: digits, whole)" in problem


def test_an_unknown_task_is_looked_for_among_lm_evals_own(payload: Payload) -> None:
    (problem,) = _problems(payload(PICK, "winogrand"))
    assert problem.startswith("evaluation.tasks.1.name: there is no task 'winogrand'")
    assert "'winogrande'" in problem


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("higher_is_better: true", "higher_is_better: false", "lower is better for 'acc'"),
        ("aggregation: mean", "aggregation: bleu", "is not in [0, 1]"),
        (
            "doc_to_target: label",
            "doc_to_target: lable",
            "`doc_to_target: lable` is no column of its data (prompt, answer, choices, label)",
        ),
        (
            "doc_to_target: label",
            "doc_to_target: 'no {{label}}'",
            f"{ITEMS} of {ITEMS} items have an answer",
        ),
        ("{{prompt}}", "{{prompts}}", "cannot be loaded"),
        ("{{prompt}}", "x{{1 // prompt.count('7')}}", "the prompts of task 'pick' cannot"),
        ("items.jsonl", "gone.jsonl", "cannot be loaded"),
        ("task: pick", "task: pick\nnum_fewshot: 0", "requires 0 examples, not 1"),
        ("output_type: multiple_choice", "output_type: guess", "cannot be loaded"),
        ("metadata:", "tag: [some]\nmetadata:", "is a tag and has no score"),
        ("doc_to_text:", "unsafe_code: true\ndoc_to_text:", "executes model output"),
        ("metadata:", "process_docs: !function code.f\nmetadata:", "runs its own Python code"),
        ("metadata:", "  metadata: [", "did not find expected"),
    ],
)
def test_tasks_that_cannot_be_used(
    payload: Payload, world: Path, tmp_path: Path, old: str, new: str, message: str
) -> None:
    shutil.copytree(world / "tasks", tmp_path / "tasks")
    (tmp_path / "tasks" / "code.py").write_text("raise SystemExit\n")
    (tmp_path / "tasks" / "pick.yaml").write_text(CHOICE.replace(old, new, 1))
    name = "some" if "tag:" in new else "pick2" if new.endswith("[") else "pick"
    problems = _problems(payload({"name": name, "fewshot": 1}, include=[str(tmp_path / "tasks")]))
    assert any(message in problem for problem in problems), problems


def test_more_examples_than_there_are(payload: Payload) -> None:
    (problem,) = _problems(payload({**PICK, "fewshot": 900}))
    assert "cannot be built" in problem


def test_code_that_is_allowed_by_name(payload: Payload, world: Path, tmp_path: Path) -> None:
    tasks = tmp_path / "tasks"
    shutil.copytree(world / "tasks", tasks)
    (tasks / "code.py").write_text(
        "import random\n\n\ndef shuffled(docs):\n"
        "    order = list(range(len(docs)))\n    random.shuffle(order)\n"
        "    return docs.select(order)\n"
    )
    text = CHOICE.replace("metadata:", "process_docs: !function code.shuffled\nmetadata:")
    (tasks / "pick.yaml").write_text(text + "unsafe_code: true\n")
    asked = payload(PICK, include=[str(tasks)], allow_unsafe=["pick"])
    first = _score(asked, world / "a", tmp_path / "first")
    _forget()
    assert _score(asked, world / "a", tmp_path / "second") == first
    assert _written(tmp_path / "first") == _written(tmp_path / "second")
    rows = _samples(tmp_path / "first", "pick")
    assert all(row["arguments"][0][0] == row["doc"]["prompt"] for row in rows)


# --- the whole of it ----------------------------------------------------------------------------


def test_a_child_process_scores_as_this_process_does(
    world: Path, payload: Payload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    asked = payload(PICK, WRITE_TASK)
    config = _config(asked)
    child = worker(config.backend, "cpu", tmp_path / "log")
    into = _made(tmp_path / "child")
    inputs, arguments = {"model": world / "b"}, {**asked, "split": "selection"}
    try:
        told = child.run(Operation(kind="describe", arguments=asked), _silent)
        answer = child.run(
            Operation(kind="score", arguments=arguments, inputs=inputs, into=into), _silent
        )
    finally:
        child.close()
    measured = Scores.model_validate(answer)
    scores = Evaluation.model_validate(told).chosen(measured, "selection")
    here = _score(asked, world / "b", tmp_path / "here")
    assert [task.model_dump() for task in scores.tasks] == here["tasks"]
    assert {(task.task, task.metric, task.filter) for task in measured.tasks} == {
        ("pick", "acc", "none"),
        ("pick", "acc_norm", "none"),
        ("write", "exact_match", "whole"),
        ("write", "exact_match", "digits"),
    }
    logs = _written(tmp_path / "child")
    assert logs == _written(tmp_path / "here")
    assert scores.evaluation_id == here["evaluation_id"]
    assert scores.evaluation_id == evaluation_id(config, _description(asked))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_a_copy_of_a_request_shares_nothing_that_can_change():
    from evomerge.adapters.lm_eval.requests import copied

    class Odd(dict):
        pass

    original = {"a": [1, ("x", {"y": [None, True]})], "b": Odd(z=[2.5])}
    copy = copied(original)
    assert copy == original
    assert type(copy["b"]) is Odd
    copy["a"][1][1]["y"].append(3)
    copy["b"]["z"].append(4)
    assert original == {"a": [1, ("x", {"y": [None, True]})], "b": Odd(z=[2.5])}


def test_a_task_over_own_data_is_checked_and_shown(tmp_path, monkeypatch):
    """In a child process, as `evomerge task new` does."""
    monkeypatch.chdir(tmp_path)
    rows = [{"q": f"{n}+1=", "of": ["none", str(n + 1)], "right": 1} for n in range(4)]
    Path("d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("task", "new", "d.jsonl", "--prompt", "q", "--answer", "right", "--choices", "of")
    done = command(*words)
    assert done.code == 0, done.err
    assert [f"{n}+1=" in done.out for n in range(4)] == [True, True, True, False]
    assert "--- target\n 3" in done.out
    assert "- {name: d, metric: acc}" in done.out
    assert "tasks/d.yaml exists" in command(*words).err
    assert "is one of acc, acc_norm" in command(*words, "--metric", "accuracy").err
    done = command(*words[:-2], "--force", "--metric", "exact_mach")
    assert done.code == 3
    assert "task 'd': lm-eval has no metric 'exact_mach'" in done.err
    assert "evaluation.tasks" not in done.err
