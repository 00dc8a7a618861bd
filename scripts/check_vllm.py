"""Check the vllm backend: beside hf, swapped weights beside new engines, traps, kills, a run.

    scripts/check_vllm [equality] [families] [traps] [parallel] [kills] [run]

Models and tasks are made on the spot below runs/vllm, with attention heads of 64, which is what
vllm's CPU kernels want. Prints one Markdown table; exits with 1 if a line of it says FAILED.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import make_tiny_models
import torch
from check_gpu import Table, expect
from safetensors.torch import load_file, save_file

from evomerge.adapters.lm_eval.worker import worker
from evomerge.config import EvaluationConfig, MergeOptions
from evomerge.domain.errors import CandidateError
from evomerge.execution import operations

PLACE = Path("runs/vllm").resolve()
WORLD = PLACE / "world"
RECIPE = make_tiny_models.Recipe(hidden=128, feed_forward=256, heads=2, kv_heads=2)
SKILLS = (*make_tiny_models.SKILLS,)
FAMILIES: dict[str, dict[str, Any]] = {
    "mistral": {},
    "llama": {},
    "llama, tied": {"tie_word_embeddings": True},
    "qwen2": {},
    "qwen2, tied": {"tie_word_embeddings": True},
    "qwen3": {"head_dim": 64},
    "gemma2": {"head_dim": 64, "query_pre_attn_scalar": 64, "tie_word_embeddings": True},
    "phi3": {"pad_token_id": 0},
    "olmo2": {},
    "granite": {},
    "gpt_neox": {},
    "stablelm": {},
}
"""Architectures by their name in transformers, with what their configs need besides sizes."""

SCORED = {"model_scored", "model_confirmed"}
"""Events of a journal that tell of an evaluation."""
Samples = dict[tuple[str, int], dict[str, Any]]


class Scoring:
    """Models scored one after the other in one process; the seam of a run, without the run."""

    def __init__(self, backend: str, dtype: str = "float32", *skills: str, **more: Any) -> None:
        names = skills or SKILLS
        self.evaluation = EvaluationConfig.model_validate(
            {
                "tasks": [
                    {
                        "name": make_tiny_models.task_name(skill),
                        "metric": make_tiny_models.metric_name(skill),
                    }
                    for skill in names
                ],
                "include": [WORLD / "tasks"],
                "split": "none",
                "backend": backend,
                "dtype": dtype,
                "batch_size": 64,
                "model_args": {"enforce_eager": True} if backend == "vllm" else {},
                **more,
            }
        )
        self.folder = Path(tempfile.mkdtemp(dir=PLACE))
        self.log = self.folder / "log"
        self.worker = worker(backend, "cpu", self.log)
        self.seconds: list[float] = []

    def __enter__(self) -> Self:
        self.worker.run(operations.describe(self.evaluation, MergeOptions()), _unseen)
        return self

    def __exit__(self, *_: object) -> None:
        self.worker.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def score(self, model: Path) -> Samples:
        """Every item of every task; the time is noted."""
        into = Path(tempfile.mkdtemp(dir=self.folder))
        options, began = MergeOptions(), time.perf_counter()
        asked = operations.score(self.evaluation, options, "selection", model, into)
        self.worker.run(asked, _unseen)
        self.seconds.append(time.perf_counter() - began)
        return {
            (file.stem, row["doc_id"]): row
            for file in sorted(into.glob("samples_*.jsonl"))
            for row in map(json.loads, file.read_text().splitlines())
        }

    def refusal(self, model: Path) -> str:
        """What is said of a model that cannot be scored."""
        try:
            self.score(model)
        except CandidateError as error:
            return error.message
        raise AssertionError(f"{model.name} was scored")

    @property
    def engines(self) -> int:
        """How many were started."""
        return self.log.read_text().count("Starting to load model")

    def told(self) -> list[str]:
        """What was said of swaps that are not made."""
        lines = self.log.read_text().splitlines()
        return [each.partition("swapped: ")[2] for each in lines if "cannot be swapped" in each]


def _unseen(done: int, total: int) -> None:
    """No progress is shown."""


def furthest(one: Samples, other: Samples) -> float:
    """The largest difference of a log-likelihood; infinite where a text differs."""
    if one.keys() != other.keys():
        return float("inf")
    return max(_apart(one[key]["responses"], other[key]["responses"]) for key in one)


def _apart(one: Any, other: Any) -> float:
    if isinstance(one, list):
        return max([_apart(a, b) for a, b in zip(one, other, strict=True)], default=0.0)
    try:
        return abs(float(one) - float(other))
    except ValueError:
        return 0.0 if one == other else float("inf")


def differing(one: Samples, other: Samples, key: str) -> int:
    """On how many items they differ."""
    return sum(one[item][key] != other[item][key] for item in one)


def trained() -> list[Path]:
    """The base and the specialists of the tiny world."""
    make_tiny_models.make(WORLD, recipe=RECIPE)
    return [WORLD / "models" / name for name in ("base", *SKILLS)]


def drawn(family: str, name: str, seed: int, **more: Any) -> Path:
    """A model of an architecture with random weights, and the tokenizer of the tiny world."""
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = PLACE / "drawn" / f"{family.replace(', ', '-')}-{name}"
    base = json.loads((WORLD / "models" / "base" / "config.json").read_text())
    names = ("vocab_size", "bos_token_id", "eos_token_id", "max_position_embeddings")
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 3}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "initializer_range": 0.2}
    own = {"tie_word_embeddings": False, **FAMILIES.get(family, {}), **more}
    common = {key: base[key] for key in names}
    config = AutoConfig.for_model(family.partition(",")[0], **common, **sizes, **heads, **own)
    torch.manual_seed(seed)
    shutil.rmtree(folder, ignore_errors=True)
    AutoModelForCausalLM.from_config(config).float().save_pretrained(folder)
    for file in (WORLD / "models" / "base").glob("token*"):
        shutil.copy(file, folder)
    return folder


def altered(model: Path, name: str, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    """A copy of a model with other weights."""
    folder = PLACE / "drawn" / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(model, folder)
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def check_equality(table: Table) -> None:
    """Hf beside vllm, item by item, on models that can do something."""
    models = trained()
    for dtype in ("float32", "bfloat16"):
        with table.row(f"{dtype}: hf beside vllm, {len(models)} trained models") as said:  # noqa: SIM117
            with Scoring("hf", dtype) as hf, Scoring("vllm", dtype) as vllm:
                pairs = [(hf.score(model), vllm.score(model)) for model in models]
                items = sum(len(one) for one, _ in pairs)
                metrics = sum(differing(one, other, "metrics") for one, other in pairs)
                written = [_texts(one) for one, _ in pairs]
                texts = sum(
                    differing(mine, other, "filtered")
                    for mine, (_, other) in zip(written, pairs, strict=True)
                )
                said += [
                    f"{metrics} of {items} items scored otherwise",
                    f"a model: hf {_middle(hf.seconds)}, vllm {_middle(vllm.seconds[2:])}",
                    f"first {vllm.seconds[0]:.1f} s, compared {vllm.seconds[1]:.1f} s",
                ]
                if dtype == "float32":
                    expect(metrics == 0, said[0])
                    expect(vllm.engines == 2, f"{vllm.engines} engines")
                else:
                    said.append(f"{texts} of {sum(map(len, written))} texts differ")


def _texts(samples: Samples) -> Samples:
    """The items that were answered with a text."""
    return {item: row for item, row in samples.items() if isinstance(row["filtered"][0], str)}


def _middle(seconds: list[float]) -> str:
    return f"{sorted(seconds)[len(seconds) // 2]:.1f} s"


def check_families(table: Table) -> None:
    """Swapped weights beside a new engine's, to the bit, and beside hf."""
    trained()
    skills = ("reverse", "increment")
    with Scoring("vllm", "float32", *skills) as vllm, Scoring("hf", "float32", *skills) as hf:
        for family in FAMILIES:
            with table.row(f"{family}: swapped beside new") as said:
                one, other = (drawn(family, name, seed) for seed, name in enumerate("ab"))
                before, told = vllm.engines, vllm.told()
                fresh = vllm.score(one)
                vllm.score(other)  # compares, and holds an engine of its own by then
                swapped = vllm.score(one)
                started, beside = vllm.engines - before, hf.score(one)
                why = "" if vllm.told() == told else f" ({vllm.told()[-1]})"
                apart, otherwise = furthest(swapped, fresh), differing(beside, swapped, "metrics")
                said += [
                    f"{len(swapped)} items, largest difference {apart:g}",
                    f"{started} engines for 3 models{why}",
                    f"hf scores {otherwise} items otherwise",
                    f"start {vllm.seconds[-3]:.1f} s, swap {vllm.seconds[-1]:.1f} s",
                ]
                expect(apart == 0, "they differ")
                expect(started == 2 or bool(why), f"{started} engines")

    with table.row("mistral, compiled: swapped beside new") as said:
        base, good, *_ = trained()
        with Scoring("vllm", "float32", *skills, model_args={}) as vllm:
            fresh = vllm.score(good)
            vllm.score(base)
            apart = furthest(vllm.score(good), fresh)
            said.append(f"largest difference {apart:g}; {vllm.engines} engines for 3 models")
            expect(apart == 0 and vllm.engines == 2, "they differ")


def check_traps(table: Table) -> None:
    """What was seen to give wrong numbers without an error."""
    base, good, *_ = trained()
    with table.row("a: tied embeddings, vLLM's own reload") as said:
        said.append(_in_process("tied"))
    with table.row("b: the cache of the model before") as said:
        said.append(_in_process("cache"))
    with table.row("memory that closed engines keep") as said:
        said.append(_in_process("leak"))
    with table.row("c: a tensor is missing, the config says nothing") as said:
        less = altered(good, "less", lambda w: _drop(w, "model.layers.1.self_attn.k_proj.weight"))
        for backend in ("vllm", "hf"):
            with Scoring(backend) as scoring:
                said.append(f"{backend}: {scoring.refusal(less)}")
    with Scoring("vllm", "float32", "reverse") as fresh:
        wanted = fresh.score(good)
    with table.row("d: NaN in the file, and logits that overflow; then a good model") as said:
        bad = altered(good, "nan", lambda w: w["lm_head.weight"].fill_(float("nan")))
        huge = altered(good, "huge", lambda w: w["model.norm.weight"].fill_(3e38))
        with Scoring("vllm", "float32", "reverse") as scoring:
            scoring.score(base)
            said += [scoring.refusal(bad), scoring.refusal(huge)]
            expect(furthest(scoring.score(good), wanted) == 0, "the good model is poisoned")
    with table.row("e: a wrong shape; then a good model") as said:
        cut = altered(good, "cut", lambda w: _cut(w, "model.layers.0.mlp.up_proj.weight"))
        with Scoring("vllm", "float32", "reverse") as scoring:
            scoring.score(base)
            said.append(scoring.refusal(cut)[:120])
            expect(furthest(scoring.score(good), wanted) == 0, "the engine stayed broken")
    with table.row("heads of 16; a window beyond the model's") as said:
        small = drawn("mistral", "small", 1, head_dim=16)
        with Scoring("vllm", "float32", "reverse") as scoring:
            said.append(scoring.refusal(small)[:120])
        with Scoring("vllm", "float32", "reverse", max_length=4096) as scoring:
            said.append(scoring.refusal(good)[:120])


def _drop(weights: dict[str, torch.Tensor], name: str) -> None:
    del weights[name]


def _cut(weights: dict[str, torch.Tensor], name: str) -> None:
    weights[name] = weights[name][:-1].clone()


def _in_process(trap: str) -> str:
    """What a process of its own, which has an engine and nothing of ours around it, says."""
    told = subprocess.run(
        [sys.executable, __file__, f"--{trap}"],
        env={**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    expect(told.returncode == 0, (told.stderr or told.stdout)[-300:])
    return told.stdout.strip().splitlines()[-1]


def _tied() -> None:
    """The same model swapped in by vLLM's own reload, by ours, and in an engine of its own."""
    from evomerge.adapters.lm_eval.form import read_form
    from evomerge.adapters.lm_eval.kept_engine import KeptEngine
    from evomerge.adapters.lm_eval.vllm_engine import VllmEngine

    class Plain(VllmEngine):
        def swap(self, model: Path) -> None:
            reload = {"weights_path": str(model)}
            self._lm.model.collective_rpc("reload_weights", kwargs=reload)
            self._lm.model.reset_prefix_cache()

    models = [drawn("llama, tied", name, seed) for seed, name in enumerate("ab")]
    texts = ["k352=", "abc=123"]
    engine = Plain(models[0], _arguments())
    engine.swap(models[1])
    stale = engine.answers(texts)
    VllmEngine.swap(engine, models[1])
    ours = engine.answers(texts)
    engine.close()
    kept = KeptEngine(Plain)
    for model in models:
        with kept.holding(model, read_form(model, "auto"), _arguments(), texts):
            pass
    with kept.holding(models[1], read_form(models[1], "auto"), _arguments(), texts):
        fresh = kept._engine.answers(texts) if kept._engine else []  # noqa: SLF001
    (told,) = kept.told()
    kept.close()
    apart = max(abs(a - b) for a, b in zip(stale, fresh, strict=True))
    assert ours == fresh, (ours, fresh)
    print(
        f"up to {apart:.1f} nats a token off, and found by the comparison ({told.trouble[-38:]}); "
        "ours equals a new engine to the bit"
    )


def _cache() -> None:
    """Texts by a model whose cache was not emptied, was emptied, and by a new engine."""
    from vllm import SamplingParams, TokensPrompt

    models = trained()[1:3]
    # Longer than a block of the cache, which is the least that is read again.
    prompts = [TokensPrompt(prompt_token_ids=[1, *range(4, 54), seed + 4]) for seed in range(8)]
    taking = SamplingParams(temperature=0, max_tokens=8, detokenize=False)

    def write(engine: Any) -> list[Any]:
        outputs = engine._lm.model.generate(prompts, taking, use_tqdm=False)  # noqa: SLF001
        return [tuple(each.outputs[0].token_ids) for each in outputs]

    engine = _engine(models[0])
    write(engine)
    engine._lm.model.collective_rpc("swap_weights", args=(str(models[1]),))  # noqa: SLF001
    kept = write(engine)
    engine.swap(models[1])
    emptied = write(engine)
    engine.close()
    alone = _engine(models[1])
    wanted = write(alone)
    alone.close()
    right = sum(a == b for a, b in zip(kept, wanted, strict=True))
    assert emptied == wanted, (emptied, wanted)
    print(f"kept: {right} of 8 texts right; emptied: 8 of 8")


def _leak() -> None:
    """Engines one after the other in one process."""
    models, sizes = trained(), []
    for model in models:
        engine = _engine(model)
        engine.answers(["k352="])
        engine.close()
        status = Path("/proc/self/status").read_text()
        sizes.append(int(status.partition("VmRSS:")[2].split()[0]) // 1024)
    assert sizes[-1] < sizes[0] + 50, sizes
    print(f"{len(sizes)} engines: {sizes[0]} MB in use after the first, {sizes[-1]} after the last")


def _engine(model: Path) -> Any:
    from evomerge.adapters.lm_eval.vllm_engine import VllmEngine

    return VllmEngine(model, _arguments())


def _arguments() -> dict[str, Any]:
    from evomerge.adapters.lm_eval.backends import Placement
    from evomerge.adapters.lm_eval.vllm_engine import engine_arguments

    evaluation = EvaluationConfig.model_validate(
        {
            "tasks": [{"name": "any"}],
            "dtype": "float32",
            "model_args": {"enforce_eager": True, "block_size": 32},
        }
    )
    return engine_arguments(evaluation, Placement("cpu"))


def check_parallel(table: Table) -> None:
    """An engine of two processes, as over two GPUs."""
    base, good, *_ = trained()
    both = {"enforce_eager": True, "tensor_parallel_size": 2}
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "0|1"
    try:
        with table.row("tensor parallelism of 2: swapped beside new, one, a broken model") as said:
            with Scoring("vllm", "float32", "reverse", model_args=both) as two:
                fresh = two.score(good)
                two.score(base)
                swapped = two.score(good)
                expect(furthest(swapped, fresh) == 0, "swapped and new differ")
                cut = altered(good, "cut", lambda w: _cut(w, "model.layers.0.mlp.up_proj.weight"))
                said.append(two.refusal(cut)[:120])
                expect("root cause" not in said[-1], said[-1])
                expect(furthest(two.score(good), fresh) == 0, "the engine stayed broken")
                os.killpg(_pid_of("evomerge.adapters.lm_eval.child"), signal.SIGKILL)
                time.sleep(0.5)
                expect(len(_leftovers()) > 1, "nothing to sweep")
                two.score(good)
            expect(not _leftovers(), f"left behind: {_leftovers()}")
            said.append("kill -9: no shared memory left behind")
    finally:
        del os.environ["VLLM_CPU_OMP_THREADS_BIND"]


def check_kills(table: Table) -> None:
    """Kill -9 of a scoring process, and of a whole run."""
    base, good, *_ = trained()
    with table.row("kill -9 of the process that scores; then the next model") as said:
        with Scoring("vllm", "float32", "reverse") as scoring:
            scoring.score(base)
            held = _leftovers()
            expect(len(held) == 1, f"temporary folders: {held}")
            os.killpg(_pid_of("evomerge.adapters.lm_eval.child"), signal.SIGKILL)
            time.sleep(0.5)
            expect(_leftovers() == held, "swept too early")
            scoring.score(good)
            expect(len(_leftovers()) == 1, f"not swept: {_leftovers()}")
        expect(not _leftovers(), f"left behind: {_leftovers()}")
        said.append("scored in a new process, nothing left behind")
    with table.row("kill -9 of a run while it scores; then resume") as said:
        shutil.rmtree(PLACE / "runs", ignore_errors=True)
        whole = _digest(_run("whole", "vllm"))
        command = _command("killed", "vllm", store="other")
        driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        log = PLACE / "runs" / "other" / "killed" / "logs" / "score-0.log"
        while not (log.is_file() and log.read_text().count("reset prefix cache") >= 2):
            time.sleep(0.2)
            expect(driver.poll() is None, "the run ended before it was killed")
        driver.kill()
        driver.wait()
        time.sleep(1)
        expect(not _alive(), f"still there: {_alive()}")
        resumed = _digest(_run("killed", "vllm", store="other"))
        expect(resumed == whole, f"digest {resumed}, not {whole}")
        expect(not _leftovers(), f"left behind: {_leftovers()}")
        said.append("no process left, same digest as uninterrupted, nothing left behind")


def _leftovers() -> list[str]:
    found = Path(tempfile.gettempdir()).glob("evomerge-vllm-*")
    shared = [each for name in ("psm_*", "vllm_dist_*") for each in Path("/dev/shm").glob(name)]
    loose = Path(tempfile.gettempdir()).glob("vllm_dist_*")
    return sorted(str(each) for each in (*found, *shared, *loose))


def _processes() -> Iterable[tuple[int, str]]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        yield int(folder.name), words


def _pid_of(text: str) -> int:
    own = [pid for pid, words in _processes() if text in words and sys.executable in words]
    expect(len(own) == 1, f"processes: {own}")
    return own[0]


def _alive() -> list[str]:
    return [
        words
        for _, words in _processes()
        if "evomerge.adapters" in words and sys.executable in words
    ]


def check_run(table: Table) -> None:
    """A whole run with the kept engine, beside hf."""
    trained()
    for backend in ("hf", "vllm"):
        with table.row(f"a run of tiny models, {backend}") as said:
            shutil.rmtree(PLACE / "runs", ignore_errors=True)
            run = _run(backend, backend)
            told = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
            events = [each["event"] for each in told]
            scored = [each["seconds"] for each in events if each["type"] in SCORED]
            said.append(f"{len(scored)} evaluations in {sum(scored):.0f} s")
            said.append(f"the first {scored[0]:.1f} s, half of them below {_middle(scored)}")
            if backend == "vllm":
                log = (run / "logs" / "score-0.log").read_text()
                engines = log.count("Starting to load model")
                said.append(f"{engines} engines; one for each: {len(scored) * scored[0]:.0f} s")
                expect(engines == 2, f"{engines} engines")


def _command(name: str, backend: str, store: str = "runs") -> list[str]:
    settings = {
        "run.name": name,
        "run.dir": PLACE / "runs" / store,
        "base_model": WORLD / "models" / "base",
        "foundation_models": json.dumps([str(WORLD / "models" / name) for name in SKILLS]),
        "evaluation.include": json.dumps([str(WORLD / "tasks")]),
        "evaluation.backend": backend,
        "stopping": "[{max_generations: 3}]",
    }
    if backend == "vllm":
        settings["evaluation.model_args"] = "{enforce_eager: true}"
    sets = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    return [sys.executable, "-m", "evomerge", "run", "configs/tiny.yaml", *sets]


def _run(name: str, backend: str, store: str = "runs") -> Path:
    done = subprocess.run(
        _command(name, backend, store), capture_output=True, text=True, check=False
    )
    expect(done.returncode == 0, (done.stderr or done.stdout)[-400:])
    return PLACE / "runs" / store / name


def _digest(run: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "evomerge", "digest", str(run)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


CHECKS: Mapping[str, Callable[[Table], None]] = {
    "equality": check_equality,
    "families": check_families,
    "traps": check_traps,
    "parallel": check_parallel,
    "kills": check_kills,
    "run": check_run,
}
_IN_PROCESS = {"--tied": _tied, "--cache": _cache, "--leak": _leak}


def main(words: list[str]) -> int:
    """Command line; returns the exit status."""
    PLACE.mkdir(parents=True, exist_ok=True)
    if words and words[0] in _IN_PROCESS:
        _IN_PROCESS[words[0]]()
        return 0
    if unknown := set(words) - CHECKS.keys():
        print(f"no such check: {', '.join(sorted(unknown))}; there are {', '.join(CHECKS)}")
        return 2
    table = Table("cpu")
    table.head()
    for name in words or CHECKS:
        CHECKS[name](table)
    return int(table.failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
