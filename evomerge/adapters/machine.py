"""Checks of this machine: GPUs, memory, disk, file system, versions, access to the hub."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from evomerge import __version__
from evomerge.adapters.hub import Hub, UnreachableError, offline
from evomerge.config import Config
from evomerge.config.texts import spread
from evomerge.domain.errors import PreflightError
from evomerge.domain.finding import Finding
from evomerge.domain.model import Foundation
from evomerge.execution.resources import memory

GPUS = Path("/proc/driver/nvidia/gpus")
LIBRARIES = ("mergekit", "lm_eval", "transformers", "torch", "safetensors")
_SHARED = (
    "nfs",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "cifs",
    "smb",
    "9p",
    "glusterfs",
    "fuse.sshfs",
)
"""Network file systems, where locks may not work between machines."""


@dataclass(frozen=True)
class Gpu:
    """One GPU, memory in bytes."""

    name: str
    memory: int
    free: int


def gpus() -> tuple[Gpu, ...] | None:
    """The GPUs that the NVIDIA driver lists; None without a driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        handles = [
            pynvml.nvmlDeviceGetHandleByIndex(number)
            for number in range(pynvml.nvmlDeviceGetCount())
        ]
        found = [(pynvml.nvmlDeviceGetName(h), pynvml.nvmlDeviceGetMemoryInfo(h)) for h in handles]
        return tuple(Gpu(str(name), int(memory.total), int(memory.free)) for name, memory in found)
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()


def devices(configured: tuple[str, ...]) -> tuple[str, ...]:
    """The devices that models are scored on; `auto` is every visible GPU, or the CPU."""
    return _visible_gpus() or ("cpu",) if configured == ("auto",) else spread(configured)


def gpus_of(config: Config) -> int:
    """The number of GPUs that a run on this machine uses."""
    return len({*devices(config.execution.devices)} - {"cpu"})


def engines(config: Config) -> tuple[str, ...]:
    """What each evaluation worker has: a device, or GPUs for one engine, as `cuda:0+cuda:1`.

    Raises:
        PreflightError: the devices cannot be divided among engines of that many.
    """
    found, each = devices(config.execution.devices), config.evaluation.gpus_per_engine
    if config.evaluation.backend != "vllm" or "cpu" in found:
        return found
    most = max(map(found.count, found))
    if most * config.evaluation.gpu_share(merges_on_gpu=config.merge.options.on_gpu) > 1:
        raise PreflightError(
            f"execution.devices: {most} vllm engines on one GPU, each with most of its memory",
            "list each GPU once, or set `evaluation.model_args: {gpu_memory_utilization: 0.4}`",
        )
    if len(found) % each or (most > 1 and each > 1):
        raise PreflightError(
            f"execution.devices: {len(found)} devices cannot be divided into engines of {each}",
            "list each GPU once, and as many as evaluation.model_args asks for "
            "(tensor_parallel_size, pipeline_parallel_size) or a multiple of that",
        )
    return tuple("+".join(found[i : i + each]) for i in range(0, len(found), each))


def _visible_gpus() -> tuple[str, ...]:
    """`cuda:0`, `cuda:1`, …, numbered as by torch, without importing it."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        count = len([each for each in visible.split(",") if each.strip()])
    else:
        count = len(list(GPUS.iterdir())) if GPUS.is_dir() else 0
    return tuple(f"cuda:{number}" for number in range(count))


def versions(foundation: Sequence[Foundation]) -> dict[str, str]:
    """Installed versions of the libraries that determine results, without importing them.

    For peft it is the version that merged the adapters, if there are adapters.
    """
    found = {name: installed(name) or "not installed" for name in LIBRARIES}
    engines = {each.adapter.engine for each in foundation if each.adapter}
    peft = ", ".join(sorted(engine.partition(" ")[2] for engine in engines))
    return {**found, "peft": peft} if peft else found


def environment(devices: Sequence[str], versions: Mapping[str, str]) -> dict[str, Any]:
    """The environment that a new run records."""
    return {
        "evomerge": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "devices": list(devices),
        "versions": dict(versions),
    }


def check_devices(devices: Sequence[str], needed: float | None) -> Iterator[Finding]:
    """Check that the config's devices exist and have enough memory.

    Args:
        devices: one per worker, in torch's notation.
        needed: estimated bytes of one evaluation; None if unknown.
    """
    found = gpus()
    for number, gpu in enumerate(found or ()):
        message = f"{gpu.name}, {gpu.memory / 1e9:.0f} GB, {gpu.free / 1e9:.0f} GB free"
        yield Finding("fine", f"GPU {number}", message)
    wanted = sorted({device for device in devices if device.startswith("cuda")})
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = (
        len(found or ()) if visible is None else len([v for v in visible.split(",") if v.strip()])
    )
    missing = [d for d in wanted if int(d.partition(":")[2] or 0) >= count]
    if missing:
        message = f"no such device: {', '.join(missing)}; {count or 'no'} GPUs are visible"
        yield Finding("problem", "devices", message, "set `execution.devices`: auto, or [cpu]")
    elif not found:
        message = "no GPU is visible; models are scored on the CPU"
        slow = needed is not None and needed > 4e9
        remedy = "a large model takes hours there: check nvidia-smi" if slow else None
        yield Finding("warning" if slow else "fine", "GPU", message, remedy)
    for device in wanted:
        number = int(device.partition(":")[2] or 0)
        mapped = visible is None and found is not None and number < len(found)
        if mapped and found and needed and needed * devices.count(device) > found[number].memory:
            message = f"an evaluation takes about {needed / 1e9:.0f} GB"
            many = (
                f", {devices.count(device)} workers share it" if devices.count(device) > 1 else ""
            )
            remedy = "lower `evaluation.batch_size` or `max_length`, or use fewer workers"
            yield Finding("warning", f"GPU {number}", message + many, remedy)


def check_memory(needed: float | None) -> Finding:
    """Check that a merge fits into RAM; `needed` is an estimate in bytes."""
    known = memory() or {}
    total, available = known.get("MemTotal", 0), known.get("MemAvailable", 0)
    message = f"{total / 1e9:.1f} GB of RAM, {available / 1e9:.1f} GB available"
    if needed is not None and available < needed:
        message += f", and a merge takes about {needed / 1e9:.1f} GB"
        return Finding("warning", "memory", message, "close other programs, or lower shard_size")
    return Finding("fine", "memory", message)


def check_disks(
    needed: Sequence[tuple[Path, float | None, float | None, str]],
) -> Iterator[Finding]:
    """Check that what is written fits; what lands on one file system counts together.

    Args:
        needed: folders, which need not exist, with the least and the most bytes that come there
            (None if unknown), and what needs the least.
    """
    by_device: dict[int, list[tuple[Path, float, float, str]]] = {}
    for folder, least, most, what in needed:
        place = existing(folder)
        part = (place, least or 0.0, most or 0.0, what)
        by_device.setdefault(place.stat().st_dev, []).append(part)
    for parts in by_device.values():
        free = shutil.disk_usage(parts[0][0]).free
        places = " and ".join(dict.fromkeys(str(place) for place, *_ in parts))
        message = f"{free / 1e9:.1f} GB free in {places}"
        remedy = "free some space, choose another `run.dir` or HF_HOME, or set `retention: pool`"
        if free < sum(least for _, least, _, _ in parts):
            listed = [f"{size / 1e9:.1f} GB for {what}" for _, size, _, what in parts if size]
            message += f", and needed are {' and '.join(listed)}"
            yield Finding("problem", "disk", message, remedy)
        elif free < (most := sum(most for _, _, most, _ in parts)):
            yield Finding("warning", "disk", f"{message}; up to {most / 1e9:.1f} GB", remedy)
        else:
            yield Finding("fine", "disk", message)


def check_file_system(runs: Path) -> Finding:
    """Check that file locks work in the runs folder, and that it is writable."""
    folder = existing(runs)
    kind = file_system(folder)
    try:
        locks = _locks_hold(folder)
    except OSError as error:
        message = f"{folder} cannot be written to: {error.strerror}"
        return Finding("problem", "runs folder", message, "choose another `run.dir`")
    if not locks:
        message = f"file locks do not work in {folder} ({kind})"
        remedy = "start only one driver per run, or choose a `run.dir` on a local disk"
        return Finding("warning", "runs folder", message, remedy)
    if kind.startswith(_SHARED):
        message = f"{folder} is on {kind}; locks hold on this machine, perhaps not between machines"
        return Finding("warning", "runs folder", message, "drive a run from one machine at a time")
    return Finding("fine", "runs folder", f"{folder} ({kind}), locks hold")


def existing(folder: Path) -> Path:
    """The folder, or its nearest existing parent."""
    whole = folder.expanduser().absolute()
    return next(each for each in (whole, *whole.parents) if each.is_dir())


def file_system(folder: Path) -> str:
    """The kernel's name of a folder's file system; `unknown` if not on Linux."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown"
    mounts = [line.split()[1:3] for line in lines]
    real = folder.resolve()
    fitting = [
        (len(place), kind)
        for place, kind in mounts
        if real.is_relative_to(place.encode().decode("unicode_escape"))
    ]
    return max(fitting, key=lambda each: each[0], default=(0, "unknown"))[1]


def _locks_hold(folder: Path) -> bool:
    """Whether a locked file cannot be locked again; raises OSError."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".evomerge-doctor-") as first:
        try:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        with Path(first.name).open("rb") as second:
            try:
                fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return True
    return False


def check_versions(backend: str) -> Finding:
    """Report the versions of libraries, and check that the backend is installed."""
    names = (*LIBRARIES, "vllm") if backend == "vllm" else LIBRARIES
    versions = {name: installed(name) for name in names}
    message = ", ".join(f"{name} {number or 'missing'}" for name, number in versions.items())
    message = f"evomerge {__version__}, Python {platform.python_version()}, {message}"
    missing = [name for name, number in versions.items() if number is None]
    if missing:
        extra = "'evomerge[vllm]'" if missing == ["vllm"] else "evomerge"
        return Finding("problem", "versions", message, f"pip install {extra}")
    return Finding("fine", "versions", message)


def check_backend(config: Config) -> Iterator[Finding]:
    """Propose vllm where it is installed and not used, on a GPU."""
    version_found = installed("vllm")
    if config.evaluation.backend == "hf" and version_found and gpus():
        message = f"vllm {version_found} is installed, and scores several times as fast as hf"
        remedy = "--set evaluation.backend=vllm --set evaluation.batch_size=512"
        yield Finding("fine", "backend", message, remedy)


def installed(library: str) -> str | None:
    """The version of a library, without importing it; None if it is not installed."""
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def check_hub(hub: Hub, needed: bool) -> Finding:
    """Check that the hub is reachable, and report the user.

    Args:
        needed: whether a model of the config still has to be downloaded.
    """
    if offline():
        message = "HF_HUB_OFFLINE is set; models come from the cache"
        return Finding(
            "problem" if needed else "fine", "hub", message, "unset it" if needed else None
        )
    try:
        name = hub.user()
    except UnreachableError as error:
        remedy = "download with network access; then set HF_HUB_OFFLINE=1 to avoid timeouts"
        message = f"it {error}"
        if not needed:
            return Finding("fine", "hub", message)
        return Finding("problem", "hub", message, remedy)
    except PreflightError as error:
        return Finding("warning", "hub", error.message, error.remedy)
    if name is None:
        return Finding("fine", "hub", "reached, not logged in: public models only")
    return Finding("fine", "hub", f"reached, logged in as {name}")
