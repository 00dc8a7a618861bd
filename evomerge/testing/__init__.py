"""Fakes of all ports, under the same contract tests as the real implementations.

`landscape` evolves vectors on a synthetic landscape, without torch but with real files.
"""
