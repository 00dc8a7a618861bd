"""Terminal output: pure renderers of a run's state, and the observers that display them.

Nothing here imports torch, reads a run's files or makes decisions. Untrusted text (names, reasons)
is printed literally: it is never interpreted as markup, and its control characters are removed.
"""

from __future__ import annotations

from evomerge.terminal.documents import result_document
from evomerge.terminal.live import LiveReporter
from evomerge.terminal.panel import model_panel
from evomerge.terminal.plain import PlainReporter
from evomerge.terminal.screen import reporter, stdout_console
from evomerge.terminal.status import RunStatus, runs_table, status_panel
from evomerge.terminal.summary import result_text, summary
from evomerge.terminal.tables import choices_table, generations_table, pool_table
from evomerge.terminal.tree import lineage_tree

__all__ = [
    "LiveReporter",
    "PlainReporter",
    "RunStatus",
    "choices_table",
    "generations_table",
    "lineage_tree",
    "model_panel",
    "pool_table",
    "reporter",
    "result_document",
    "result_text",
    "runs_table",
    "status_panel",
    "stdout_console",
    "summary",
]
