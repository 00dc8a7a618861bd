"""Experiment trackers, which mirror the journal and never stop a run."""
