"""Merge rules that mergekit lacks: what becomes of one tensor of the base and its fine-tunes.

Each rule is a pure function of tensors, on whatever device they are on. `adapters` registers them
with mergekit, which stays the engine of every merge: it reads, casts and writes the tensors.
"""
