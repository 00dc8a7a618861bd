"""Validated strings: names, paths, devices."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, StringConstraints

from evomerge.domain.settings import refuse

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
SHARD_PATTERN = r"^[1-9][0-9]{0,14}[kKmMbB]?$"
TASK_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.()+:@-]{0,127}$"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DEVICE_FILE = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")
_DEVICE = re.compile(r"auto|(cpu|cuda(:[0-9]{1,3})?|mps|xpu(:[0-9]{1,3})?)([*×][1-9][0-9]?)?")


def is_file_name(name: str) -> bool:
    """Whether `name` is valid as a file name on every operating system."""
    fits = re.fullmatch(NAME_PATTERN.strip("^$"), name) and not name.endswith(".")
    return bool(fits) and not _DEVICE_FILE.fullmatch(name)


def _file_name(name: str) -> str:
    if not is_file_name(name):
        refuse(((), f"{name!r} is not a valid file name on every system"))
    return name


def path_fault(path: Path) -> str | None:
    """What is wrong with a path, without access to the file system; None if it is valid."""
    parts = path.parts
    if _CONTROL.search(str(path)) or any(
        len(part.encode(errors="replace")) > 255 for part in parts
    ):
        return "a part of the path is longer than 255 bytes or has a control character"
    if parts and parts[0] != "~" and parts[0].startswith("~"):
        return "only `~/` is expanded to a home folder; for a folder of that name write `./~...`"
    return None


def _path(path: Path) -> Path:
    if fault := path_fault(path):
        refuse(((), fault))
    return path


def _device(name: str) -> str:
    if not _DEVICE.fullmatch(name):
        what = "expected auto, cpu, cuda, cuda:N, mps, xpu, or cpu*2 for two workers"
        refuse(((), f"{what}, got {name!r}"))
    return name


def spread(devices: Sequence[str]) -> tuple[str, ...]:
    """One entry per worker: `cpu*3` and `cpu×3` become three times `cpu`."""
    parts = [re.split("[*×]", device) for device in devices]
    return tuple(name for name, *times in parts for _ in range(int(times[0]) if times else 1))


Dtype = Literal["float32", "float16", "bfloat16"]
NonEmpty = Annotated[str, StringConstraints(min_length=1)]
ModelName = Annotated[str, StringConstraints(pattern=NAME_PATTERN), AfterValidator(_file_name)]
ShardSize = Annotated[str, StringConstraints(pattern=SHARD_PATTERN)]
TaskName = Annotated[str, StringConstraints(pattern=TASK_PATTERN)]
FilePath = Annotated[Path, AfterValidator(_path)]
Device = Annotated[str, AfterValidator(_device)]
