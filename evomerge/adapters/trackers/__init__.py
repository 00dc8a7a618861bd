"""Experiment trackers, which mirror the journal and never stop a run."""

from __future__ import annotations

from evomerge.adapters.trackers.backends import BACKENDS, Tracker, TrackerName
from evomerge.adapters.trackers.mirror import Mirror, run_id

__all__ = ["BACKENDS", "Mirror", "Tracker", "TrackerName", "run_id"]
