"""Durable files: the journal, the run directory and the store that all runs share.

Every file here is complete or absent: written to a temporary file, synced, renamed, and its folder
synced.
"""
