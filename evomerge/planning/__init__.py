"""Estimates before a run: merges, evaluations, disk, memory, hours, cost. Pure."""
