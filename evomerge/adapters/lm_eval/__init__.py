"""Scores from lm-eval: the evaluator of the parent process and, below it, its child process."""
