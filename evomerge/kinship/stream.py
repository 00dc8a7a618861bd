"""One pass over the weights of a base and its models, computing their Gram rows.

Every tensor is cut into pieces, every piece into chunks that fit the cache; memory is bounded by
the chunks of the workers, whatever the size of the models. Pieces go to a small thread pool;
their results are added in a fixed order. So the product of two models is the same to the bit
for any other models and number of threads.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch

from evomerge.kinship.errors import KinshipError, NonFiniteWeightsError
from evomerge.kinship.headers import read_folder
from evomerge.kinship.matching import match
from evomerge.kinship.passes import Floats, Pass, TensorBlock
from evomerge.kinship.products import BLOCK, BLOCKS, Products, chunk_length, one_thread_each
from evomerge.kinship.schedule import TensorTask, schedule
from evomerge.kinship.tensors import Elements
from evomerge.kinship.union import Pairs, pairs_of

PIECE = BLOCK * BLOCKS
# Pieces submitted ahead per thread: keeps all threads busy at little memory.
AHEAD = 4


def measure(
    base: Path,
    models: Mapping[str, Path],
    pairs: Collection[tuple[str, str]] | None = None,
    *,
    base_id: str,
    known: Sequence[Pass] = (),
    device: str = "cpu",
    threads: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Pass:
    """Measure the products of pairs that no known pass holds, tensor by tensor.

    For every tensor, as few models as suffice are multiplied with those they are paired with; a
    model without missing products is not read. Where a model has fewer rows of a tensor than the
    `known` passes were taken over, its products are computed again.

    Args:
        base: the folder of the base model.
        models: the folder of every model, by id; the order of the pass.
        pairs: the unordered pairs to measure, and with them each of their models with itself;
            None for all.
        known: earlier passes over this base. `missing_pairs` tells whether a pass is needed.
        device: torch device for the products (`cpu`, `cuda:0`).
        threads: number of worker threads, one core each.
        progress: callback with (bytes read, bytes to read), called in this thread.

    Raises:
        WeightFileError: a folder or file cannot be read, or is damaged.
        ShapeMismatchError: a tensor's shapes differ in more than their rows.
        NonFiniteWeightsError: a weight is NaN, infinite or so large that its delta overflows;
            names tensor and model.
        KinshipError: the arguments are inconsistent.
    """
    wanted_pairs = _check(models, pairs, base_id, known, threads)
    folders = {model: read_folder(folder) for model, folder in models.items()}
    matching = match(base_id, read_folder(base), folders)
    tasks = schedule(matching.tensors, tuple(models), wanted_pairs, known)
    wanted = [task for task in tasks if task.new]
    with one_thread_each():
        sums = _run(wanted, torch.device(device), base_id, threads, progress)
    blocks = tuple(_block(task, tuple(models), sums.get(task.tensor.name)) for task in tasks)
    return Pass(base_id, tuple(models), blocks, matching.extra, matching.skipped, matching.renamed)


def _check(
    models: Mapping[str, Path],
    pairs: Collection[tuple[str, str]] | None,
    base_id: str,
    known: Sequence[Pass],
    threads: int,
) -> Pairs:
    """The pairs to measure."""
    if not models or base_id in models:
        raise KinshipError("kinship needs models with ids other than the base's")
    wanted = pairs_of(models) if pairs is None else pairs_of(models, pairs)
    unknown = sorted({model for pair in wanted for model in pair} - set(models))
    if unknown:
        raise KinshipError(f"in the pairs, but not among the models: {', '.join(unknown)}")
    if any(one.base != base_id for one in known):
        raise KinshipError("the known passes were taken over another base")
    if threads < 1:
        raise KinshipError("threads must be at least 1")
    return wanted


def _run(
    tasks: Sequence[TensorTask],
    device: torch.device,
    base_id: str,
    threads: int,
    progress: Callable[[int, int], None] | None,
) -> dict[str, Floats]:
    """The products of every task by tensor name; raises the first error."""
    total = sum(task.tensor.count * task.width for task in tasks)
    sums: dict[str, Floats] = {}
    done = 0
    # Closed explicitly: an error must stop the threads now, not when its traceback is collected.
    with closing(_in_order(tasks, device, base_id, threads)) as pieces:
        for task, start, stop, products in pieces:
            name = task.tensor.name
            sums[name] = sums[name] + products if name in sums else products
            done += (stop - start) * task.width
            if progress is not None:
                progress(done, total)
    return sums


def _in_order(
    tasks: Sequence[TensorTask], device: torch.device, base_id: str, threads: int
) -> Generator[tuple[TensorTask, int, int, Floats], None, None]:
    """Compute the pieces of all tasks in a thread pool; yields their products in order."""
    # Torch's thread count is per thread, so each worker has to set it.
    pool = ThreadPoolExecutor(threads, "kinship", torch.set_num_threads, (1,))
    begun: deque[tuple[TensorTask, int, int, Future[Floats]]] = deque()
    try:
        for task in tasks:
            for start in range(0, task.tensor.count, PIECE):
                stop = min(start + PIECE, task.tensor.count)
                future = pool.submit(_measure_piece, task, start, stop, device, base_id)
                begun.append((task, start, stop, future))
                if len(begun) > AHEAD * threads:
                    first = begun.popleft()
                    yield *first[:3], first[3].result()
        while begun:
            first = begun.popleft()
            yield *first[:3], first[3].result()
    finally:
        pool.shutdown(cancel_futures=True)


def _measure_piece(
    task: TensorTask, start: int, stop: int, device: torch.device, base_id: str
) -> Floats:
    """The products over elements `start` to `stop`, as `Products.total`, checked to be finite."""
    blocks = -(-(stop - start) // BLOCK)
    longest = min(chunk_length(len(task.stored), device), BLOCK * blocks)
    products = Products(len(task.known), len(task.new), length=longest, device=device)
    for weights in _chunks(task, start, stop, longest):
        products.add(weights)
    sums = products.total()
    if not np.isfinite(sums).all():
        _raise_non_finite(task, start, stop, base_id)
    return sums


def _chunks(task: TensorTask, start: int, stop: int, longest: int) -> Iterator[list[torch.Tensor]]:
    """The weights of the base, known and new models, chunk by chunk."""
    with ExitStack() as stack:
        sources = [
            stack.enter_context(closing(Elements(one, min(longest, stop - start))))
            for one in task.stored
        ]
        for first in range(start, stop, longest):
            last = min(first + longest, stop)
            yield [source.take(first, last) for source in sources]


def _raise_non_finite(task: TensorTask, start: int, stop: int, base_id: str) -> None:
    """Raise NonFiniteWeightsError for the first non-finite weight of the range, or the largest."""
    names = (base_id, *task.known, *task.new)
    largest = (0.0, base_id)
    for weights in _chunks(task, start, stop, BLOCK):
        for model, weight in zip(names, weights, strict=True):
            size = float(weight.double().abs().max())
            if not math.isfinite(size):
                _refuse(task, model, "NaN" if math.isnan(size) else "an infinity")
            largest = max(largest, (size, model))
    _refuse(task, largest[1], f"a weight of {largest[0]:.0e}, too large to be told from infinity")


def _refuse(task: TensorTask, model: str, held: str) -> NoReturn:
    raise NonFiniteWeightsError(
        f"tensor {task.tensor.name} of model {model} holds {held}",
        "leave this model out; its weights are broken",
        tensor=task.tensor.name,
        model=model,
    )


def _block(task: TensorTask, models: tuple[str, ...], sums: Floats | None) -> TensorBlock:
    """The products in the order of the pass, NaN where a model lacks the tensor."""
    tensor = task.tensor
    model_rows = tuple(
        tensor.models[model].rows if model in tensor.models else 0 for model in models
    )
    new = tuple(models.index(model) for model in task.new)
    gram = np.full((len(new), 1 + len(models)), np.nan)
    if sums is not None:
        places = [models.index(model) for model in task.known + task.new]
        gram[:, [0, *(1 + place for place in places)]] = sums
    return TensorBlock(
        tensor.name, tensor.base.row_size, tensor.base.rows, tensor.rows, model_rows, new, gram
    )
