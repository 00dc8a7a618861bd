"""Kinship of children that are not merged yet; `predict` is where to begin."""
