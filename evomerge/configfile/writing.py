"""Writing a config as YAML, and making its paths absolute."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from evomerge.config import Config, ModelConfig, RegmeanMerge
from evomerge.config.models import is_path
from evomerge.configfile import scalars


class _Dumper(yaml.SafeDumper):
    """Quotes strings that this or a YAML 1.1 reader would not read as strings."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _tag, _form, _first in scalars.RULES:
    _Dumper.add_implicit_resolver(_tag, _form, _first)


def dump(config: Config) -> str:
    """`config` as YAML with all defaults; it parses to an equal config."""
    tree = config.model_dump(mode="json", by_alias=True)
    merge = tree["merge"]
    tree["merge"] = {"method": merge.pop("method"), **merge}
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def placed(text: str, **values: str) -> str:
    """A text of `dump` with other values of `run`, such as its `name`; all else stays as it is.

    A text without them is returned unchanged.
    """
    for key, value in values.items():
        line = yaml.dump({key: value}, Dumper=_Dumper, allow_unicode=True, width=10_000)
        old = rf"^(run:\n(?:  .*\n)*?)  {key}: .*\n(?:    .*\n)*"
        text = re.sub(old, lambda found, line=line: f"{found[1]}  {line}", text, flags=re.MULTILINE)  # type: ignore[misc]
    return text


def tells_nobody(text: str) -> str:
    """A text of `dump` without who is told of the run (`notify`)."""
    return re.sub(r"(?m)^notify:.*\n(?:[ -].*\n)*", "notify: null\n", text)


def anchored(config: Config, root: Path) -> Config:
    """`config` with absolute local paths: relative paths start at `root`, `~` is expanded.

    A model is local if its text can only be a path, or if it names a folder below `root`.
    """

    def absolute(path: Path) -> Path:
        return root.absolute() / path.expanduser()

    def located(text: str) -> str:
        return str(absolute(Path(text))) if is_path(text) or (root / text).is_dir() else text

    def model(each: ModelConfig) -> ModelConfig:
        # keep the name: an absolute path must not rename the model
        return ModelConfig(model=located(each.model), name=each.short_name)

    known = {each.short_name for each in config.foundation_models}
    tokenizer = config.merge.tokenizer
    if tokenizer not in known and "/" in tokenizer:
        tokenizer = located(tokenizer)
    merge = config.merge.model_copy(update={"tokenizer": tokenizer})
    return config.model_copy(
        update={
            "run": config.run.model_copy(update={"dir": absolute(config.run.dir)}),
            "base_model": model(config.base_model),
            "foundation_models": tuple(model(each) for each in config.foundation_models),
            "merge": merge.anchored(root) if isinstance(merge, RegmeanMerge) else merge,
            "evaluation": config.evaluation.model_copy(
                update={
                    "include": tuple(absolute(path) for path in config.evaluation.include),
                    "guard": config.evaluation.guard and config.evaluation.guard.anchored(root),
                }
            ),
        }
    )
