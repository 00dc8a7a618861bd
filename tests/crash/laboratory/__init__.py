"""Killing, starving and cutting the power of landscape runs, and checking what is left.

`server` forks drivers from a warm process, `drivers` asks it to, `interpose` and `tracing` stop a
driver at a chosen system call, `disk` replays what a power cut may leave, `invariants` says what
must hold after each of them, `sweep` does it at every point and prints a table.
"""
