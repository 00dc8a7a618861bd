"""Terminal output: pure renderers of a run's state, and the observers that display them.

Nothing here imports torch, reads a run's files or makes decisions. Untrusted text (names, reasons)
is printed literally: it is never interpreted as markup, and its control characters are removed.
"""
