"""`evomerge export`: write a model of a run as a folder, and optionally upload it."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import click

from evomerge.api.exporting import export
from evomerge.cli.options import runs_dir_option
from evomerge.domain.errors import UsageError
from evomerge.driver import signals_stop
from evomerge.store.recorded import find_own_run

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)


@click.command()
@click.argument("run")
@click.argument("model", required=False)
@click.option("--to", type=click.Path(path_type=Path), required=True, help="The new folder.")
@runs_dir_option
@click.option("--copy", is_flag=True, help="Copy the weights instead of hard-linking them.")
@click.option("--push", metavar="ORG/NAME", help="Upload the folder to the hub afterwards.")
@click.option("--public", is_flag=True, help="With --push: make the repository public.")
@click.option("--dry-run", is_flag=True, help="With --push: only show what would be uploaded.")
def command(
    run: str,
    model: str | None,
    to: Path,
    runs_dir: Path,
    copy: bool,
    push: str | None,
    public: bool,
    dry_run: bool,
) -> None:
    """Write MODEL of RUN (default: the best) as a complete Hugging Face model folder.

    It has weights, tokenizer, chat template, generation config, and a model card with lineage,
    recipe, scores and kinship. Pruned weights are recreated first. Weights are hard links into
    the store if possible: do not change them in place, or use --copy.

    --push uploads the folder to the hub as a private repository (HF_TOKEN or `hf auth login`).
    """
    if push is not None and not _HUB_ID.fullmatch(push):
        raise UsageError(f"--push: expected ORG/NAME, got {push!r}")
    if push is None and (public or dry_run):
        raise UsageError("--public and --dry-run are for --push", "add --push ORG/NAME")
    found = find_own_run(run, runs_dir)
    title = push.partition("/")[2] if push else None
    files = export(found, to, model, title=title, copy=copy, repeated=bool(push))
    for file in files:
        click.echo(f"{file.stat().st_size:>15,}  {file}")
    if push is None:
        return
    visible = "public" if public else "private"
    total = sum(file.stat().st_size for file in files)
    if dry_run:
        click.echo(f"would upload {len(files)} files, {total / 1e9:.2f} GB, to {push} ({visible})")
        return
    from evomerge.adapters.hub import Hub

    with signals_stop(), closing(Hub()) as hub:
        click.echo(hub.upload(to, push, private=not public))
