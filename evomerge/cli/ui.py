"""`evomerge ui`: the runs in a browser."""

from __future__ import annotations

from pathlib import Path

import click

from evomerge.domain.errors import PreflightError


@click.command()
@click.argument(
    "runs",
    type=click.Path(path_type=Path),
    envvar="EVOMERGE_RUNS",
    default=Path("runs"),
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8520,
    show_default=True,
    help="Port to listen on; 0 for any that is free.",
)
@click.option("--allow-control", is_flag=True, help="Let visitors stop, resume and extend runs.")
def command(runs: Path, host: str, port: int, allow_control: bool) -> None:
    """Show the runs of a folder in a browser, also while they go on; Ctrl-C ends it.

    RUNS is the runs folder, by default that of EVOMERGE_RUNS, else runs/. Nothing is changed,
    unless --allow-control is given. With it, and on any address but this machine's own, visitors
    need a token: that of EVOMERGE_UI_TOKEN, else a new one, which the printed address has.
    """
    try:
        from evomerge.ui.serving import serve
    except ModuleNotFoundError as error:
        if error.name not in {"starlette", "uvicorn", "anyio"}:
            raise
        raise PreflightError(
            f"evomerge ui needs {error.name}, which is not installed",
            "pip install 'evomerge[ui]'",
        ) from None
    serve(runs, host, port, control=allow_control, tell=click.echo)
