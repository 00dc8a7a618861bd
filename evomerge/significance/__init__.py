"""Paired significance tests over the per-item results of two models.

Pure: numpy and scipy, no files, no models. All tests are paired: both models answered the same
items, so that an item's difficulty cancels out (Miller 2024, *Adding Error Bars to Evals*,
arXiv 2411.00640, section 4.2). Items are assumed to be independent samples of a task.
"""
