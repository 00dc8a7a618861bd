"""What is shown of runs, as plain values that are computed once.

A terminal, JSON documents, the pages of reports and `evomerge ui` render these values. They are
frozen dataclasses of numbers, texts, tuples and mappings, so `dataclasses.asdict` of one is its
JSON. Everywhere a gain is over the best foundation model, except where it is called a gain over
the parents, and an `error` or an interval is 95 %.
"""
