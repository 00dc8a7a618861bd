"""First-class fakes of every port, under the same contract tests as the real parts.

`landscape` evolves points on a synthetic landscape: no torch, real files, real store.
"""
