"""Drives a run and shows its progress; behind `evomerge.run` and `evomerge run`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import click

from evomerge.config import Config
from evomerge.configfile import differences, load_recorded
from evomerge.domain.errors import StoppedError, UsageError
from evomerge.domain.events import Event
from evomerge.domain.finding import Finding
from evomerge.domain.limits import CostLimit, Limits
from evomerge.domain.state import RunState, fold
from evomerge.driver import drive
from evomerge.ports import Observer
from evomerge.store.progress_file import ProgressFile
from evomerge.store.run_directory import RunDirectory

Callback = Callable[[Event, RunState], object]
"""Called with every event of a run after it was recorded, and the state after it."""


def refuse_another_config(run: RunDirectory, config: Config) -> None:
    """Check that an existing run was started with `config`.

    Raises:
        UsageError: it was started with a different config; names the differing keys.
    """
    changed = differences(load_recorded(run.config), config).identity if run.exists else ()
    if changed:
        raise UsageError(
            f"run {run.name} was started with another config:\n  " + "\n  ".join(changed),
            "choose another `run.name` (equal results are reused from the store), or "
            f"finish the old run with `{run.command('resume')}`",
        )


def extension(
    run: RunDirectory,
    evaluations: int | None = None,
    hours: float | None = None,
    cost: float | None = None,
    price: float | None = None,
) -> Limits | None:
    """By how much a finished run is extended; None if by nothing.

    Args:
        price: of a GPU-hour; default: that of the run's `max_cost`.

    Raises:
        UsageError: there is no price for `cost`, or `price` alone is given.
    """
    if cost is not None and price is None:
        before = fold(run.read()).budget.max_cost if run.exists else None
        if before is None:
            raise UsageError(
                "a limit of the cost needs the price of a GPU-hour",
                f"name it: {run.command('resume', '--cost', f'{cost:g}', '--price', '2.5')}",
            )
        price = before.price_per_gpu_hour
    elif price is not None and cost is None:
        raise UsageError("a price alone is no limit", "add --cost, such as --cost 20")
    if evaluations is None and hours is None and cost is None:
        return None
    limit = None if cost is None else CostLimit(price_per_gpu_hour=price or 0.0, limit=cost)
    return Limits(max_evaluations=evaluations, max_hours=hours, max_cost=limit)


def driven(
    run: RunDirectory,
    config: Config,
    *,
    accept_drift: bool = False,
    plain: bool = False,
    silent: bool = False,
    more: Limits | None = None,
    callbacks: Sequence[Callback] = (),
) -> RunState:
    """Drive `run` to its end with progress on stderr, unless `silent`.

    Raises:
        EvomergeError: as `driver.drive`.
    """
    from evomerge.report.refresh import ReportRefresher
    from evomerge.terminal.screen import reporter
    from evomerge.wiring import LocalWorkplace, mirrors_of, notifiers_of

    # The view is closed first, so that its summary is visible while the last report is drawn.
    with (
        ExitStack() as stack,
        reporter(sys.stderr, plain=plain, silent=silent) as view,
        ProgressFile(run.progress) as progress_file,
    ):
        observers: list[Observer] = [view, progress_file, *map(_Observed, callbacks)]

        def fetched(file: str, done: int, total: int) -> None:
            for each in (view, progress_file):
                each.on_progress(file, "fetch", done, total)

        observers += [stack.enter_context(each) for each in notifiers_of(config, run, _warn)]
        if config.execution.report:
            observers.append(stack.enter_context(ReportRefresher(run, _warn)))
        observers += [stack.enter_context(each) for each in mirrors_of(config, run, _warn)]
        return drive(
            LocalWorkplace(config, run, view.checking, _warn, fetched),
            observers,
            accept_drift=accept_drift,
            more=more,
        )


@contextmanager
def resumable(run: RunDirectory) -> Iterator[None]:
    """Let a StoppedError say how to go on from Python."""
    try:
        yield
    except StoppedError as stopped:
        if stopped.remedy is None:
            again = "the same call starts it; what was fetched is kept"
            on = f"go on with evomerge.load({str(run.path)!r}).resume()"
            stopped.remedy = on if run.exists else again
        raise


class _Observed:
    """An observer that calls a callback of the user; its errors are told once and harm nothing."""

    def __init__(self, callback: Callback) -> None:
        self._callback = callback
        self._failed = False

    def on_event(self, event: Event, state: RunState) -> None:
        """Call the callback."""
        try:
            self._callback(event, state)
        except Exception as error:
            if not self._failed:
                self._failed = True
                name = getattr(self._callback, "__name__", repr(self._callback))
                _warn(f"the callback {name} raised {type(error).__name__}: {error}")

    def on_progress(self, model: str, activity: str, done: int, total: int, host: str = "") -> None:
        """No-op: callbacks get events."""


def _warn(finding: Finding | str) -> None:
    click.echo(f"warning: {finding}", err=True)
