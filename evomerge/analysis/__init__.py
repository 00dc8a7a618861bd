"""What the events of runs say: curves, merges, correlations, stages, costs. Pure; draws nothing."""
