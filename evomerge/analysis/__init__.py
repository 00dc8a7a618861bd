"""Analysis of runs from their events: curves, merges, correlations, stages, costs. Pure."""
