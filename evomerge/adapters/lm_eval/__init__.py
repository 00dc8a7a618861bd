"""Scores from lm-eval: the worker in the parent process, and its child process."""
