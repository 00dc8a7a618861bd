"""One pass over the weights of a base and its models, into the products that kinship derives from.

Every tensor is cut into pieces, every piece into chunks that fit the cache; memory is bounded by
the chunks of the workers, whatever the size of the models. Pieces go to a small pool of threads;
their results are added in a fixed order, so the number of threads does not change a bit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from evomerge.kinship.errors import KinshipError, NonFiniteWeightsError
from evomerge.kinship.headers import read_folder
from evomerge.kinship.kernel import Kernel, choose_kernel
from evomerge.kinship.matching import match
from evomerge.kinship.passes import Floats, Pass, TensorBlock
from evomerge.kinship.plan import Task, plan
from evomerge.kinship.products import BLOCK, EXACT, one_thread_each
from evomerge.kinship.tensors import choose_reader, open_elements

# Weights of a piece, all models together: some 20 ms of work, and what `mmap` maps at once.
PIECE = 1 << 24
# Pieces begun before their turn: enough to keep every thread at work, few enough to forget.
AHEAD = 4


@dataclass(frozen=True, slots=True)
class _Settings:
    reader: str
    block: int
    kernel: Kernel


def measure(
    base: Path,
    models: Mapping[str, Path],
    new: Collection[str] | None = None,
    *,
    base_id: str,
    known: Sequence[Pass] = (),
    device: str = "cpu",
    reader: str = "auto",
    block: int = BLOCK,
    threads: int = 2,
    kernel: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Pass:
    """Measure the products of new models with [1, base, all models], tensor by tensor.

    Products of a known model with a known model are not computed, except where a model has fewer
    rows of a tensor than the `known` passes were taken over: those are taken again.

    Args:
        base: the folder of the base model.
        models: the folder of every model, by id; the order of the pass.
        new: the models to measure against all; left out: as few as supply every pair that `known`
            lacks, and with no `known` all.
        known: the passes over this base so far. `missing_pairs` tells whether a pass is needed.
        device: where to multiply, as torch names it (`cpu`, `cuda:0`).
        reader: `mmap`, `pread` (least memory), or `auto`.
        block: elements per float32 product, at most 1,024.
        threads: tensors are worked on by so many threads, one core each.
        kernel: `compiled`, `torch`, or `auto`: the same figures but for rounding (for tests and
            benchmarks; see `evomerge.kinship.kernel`).
        progress: called in this thread with (bytes read, bytes to read).

    Raises:
        WeightFileError: a folder or file cannot be read, or is damaged.
        ShapeMismatchError: a tensor's shapes differ in more than their rows.
        NonFiniteWeightsError: a weight is NaN or infinite; tensor and model are named.
        KinshipError: the arguments do not go together.
    """
    fresh = _check(models, new, base_id, known, block, threads)
    folders = {model: read_folder(folder) for model, folder in models.items()}
    matching = match(base_id, read_folder(base), folders)
    tasks = plan(matching.tensors, tuple(models), fresh, known)
    wanted = [task for task in tasks if task.new]
    size = sum(task.tensor.count * task.width for task in wanted)
    chosen = choose_kernel(kernel, torch.device(device), block, size)
    stored = [one for task in wanted for one in task.stored]
    settings = _Settings(choose_reader(reader, stored, chosen.reader), block, chosen)
    with one_thread_each():
        sums = _run(wanted, settings, base_id, threads, progress)
    blocks = tuple(_block(task, tuple(models), sums.get(task.tensor.name)) for task in tasks)
    return Pass(base_id, tuple(models), blocks, matching.extra, matching.skipped, matching.renamed)


def _check(
    models: Mapping[str, Path],
    new: Collection[str] | None,
    base_id: str,
    known: Sequence[Pass],
    block: int,
    threads: int,
) -> frozenset[str]:
    """The models that are new by the caller's word."""
    if not models or base_id in models:
        raise KinshipError("kinship needs models, none of them under the id of the base")
    unknown = sorted(set(new or ()) - set(models))
    if unknown:
        raise KinshipError(f"new, but not among the models: {', '.join(unknown)}")
    if any(one.base != base_id for one in known):
        raise KinshipError("the known passes were taken over another base")
    if not 1 <= block <= BLOCK or threads < 1:
        raise KinshipError(f"block must be 1 to {BLOCK}, threads at least 1")
    return frozenset(models if new is None and not known else new or ())


def _run(
    tasks: Sequence[Task],
    settings: _Settings,
    base_id: str,
    threads: int,
    progress: Callable[[int, int], None] | None,
) -> dict[str, Floats]:
    """The products of every task by tensor name; the first error ends the pass."""
    total = sum(task.tensor.count * task.width for task in tasks)
    sums: dict[str, Floats] = {}
    done = 0
    # Closed by name: an error must end the threads now, not when its traceback is forgotten.
    with closing(_in_order(tasks, settings, base_id, threads)) as pieces:
        for task, start, stop, products in pieces:
            name = task.tensor.name
            sums[name] = sums[name] + products if name in sums else products
            done += (stop - start) * task.width
            if progress is not None:
                progress(done, total)
    return sums


def _in_order(
    tasks: Sequence[Task], settings: _Settings, base_id: str, threads: int
) -> Generator[tuple[Task, int, int, Floats], None, None]:
    """The pieces of all tasks with their products, in order, worked on by the threads."""
    # Torch keeps the number of its own threads per thread: each worker has to say it again.
    pool = ThreadPoolExecutor(threads, "kinship", torch.set_num_threads, (1,))
    begun: deque[tuple[Task, int, int, Future[Floats]]] = deque()
    try:
        for task in tasks:
            for start, stop in _pieces(task, settings):
                future = pool.submit(_measure_piece, task, start, stop, settings, base_id)
                begun.append((task, start, stop, future))
                if len(begun) > AHEAD * threads:
                    first = begun.popleft()
                    yield *first[:3], first[3].result()
        while begun:
            first = begun.popleft()
            yield *first[:3], first[3].result()
    finally:
        pool.shutdown(cancel_futures=True)


def _pieces(task: Task, settings: _Settings) -> Iterator[tuple[int, int]]:
    """Ranges of elements, each a whole number of chunks but for the last."""
    chunk = _chunk(task, settings)
    length = chunk * -(-PIECE // (chunk * len(task.stored)))
    for start in range(0, task.tensor.count, length):
        yield start, min(start + length, task.tensor.count)


def _chunk(task: Task, settings: _Settings) -> int:
    return settings.kernel.chunk(1 + len(task.stored))


def _measure_piece(task: Task, start: int, stop: int, settings: _Settings, base_id: str) -> Floats:
    """The products over elements `start` to `stop`; as `Products.total`, always finite."""
    exact = task.tensor.count <= EXACT
    sums = _multiply(task, start, stop, settings, exact=exact)
    if np.isfinite(sums).all():
        return sums
    _name_culprit(task, start, stop, settings, base_id)
    # All weights are finite, so a float32 overflowed.
    return _multiply(task, start, stop, settings, exact=True)


def _multiply(task: Task, start: int, stop: int, settings: _Settings, *, exact: bool) -> Floats:
    kernel, block = settings.kernel, settings.block
    if settings.reader == "pread" and kernel.read is not None:
        sums = kernel.read(task.stored, len(task.known), start, stop, exact=exact)
        if sums is not None:
            return sums
    longest = min(_chunk(task, settings), block * -(-(stop - start) // block))
    products = kernel.sums(len(task.known), len(task.new), length=longest, exact=exact)
    for weights in _chunks(task, start, stop, longest, settings.reader):
        products.add(weights)
    return products.total()


def _chunks(
    task: Task, start: int, stop: int, longest: int, reader: str
) -> Iterator[list[torch.Tensor]]:
    """The weights of base, known and new models, chunk by chunk."""
    with ExitStack() as stack:
        sources = [
            stack.enter_context(open_elements(one, start, stop, longest=longest, reader=reader))
            for one in task.stored
        ]
        for first in range(start, stop, longest):
            last = min(first + longest, stop)
            yield [source.take(first, last) for source in sources]


def _name_culprit(task: Task, start: int, stop: int, settings: _Settings, base_id: str) -> None:
    """Raise if a weight of the range is not finite."""
    names = (base_id, *task.known, *task.new)
    for weights in _chunks(task, start, stop, EXACT, settings.reader):
        for model, weight in zip(names, weights, strict=True):
            if not bool(torch.isfinite(weight).all()):
                kind = "NaN" if bool(torch.isnan(weight).any()) else "an infinity"
                raise NonFiniteWeightsError(
                    f"tensor {task.tensor.name} of model {model} holds {kind}",
                    "leave this model out; its weights are broken",
                    tensor=task.tensor.name,
                    model=model,
                )


def _block(task: Task, models: tuple[str, ...], sums: Floats | None) -> TensorBlock:
    """The products in the order of the pass, NaN where a model lacks the tensor."""
    tensor = task.tensor
    model_rows = tuple(
        tensor.models[model].rows if model in tensor.models else 0 for model in models
    )
    new = tuple(models.index(model) for model in task.new)
    gram = np.full((1 + len(new) if new else 0, 2 + len(models)), np.nan)
    if sums is not None:
        places = [models.index(model) for model in task.known + task.new]
        gram[:, [0, 1, *(2 + place for place in places)]] = sums
    return TensorBlock(
        tensor.name, tensor.base.row_size, tensor.base.rows, tensor.rows, model_rows, new, gram
    )
