"""Runs as pictures and pages: figures by matplotlib, pages by Jinja2, one self-contained file.

`palette` and `figure` are the look of every figure, `page` that of every page; the other modules
say what a run's report shows. matplotlib is imported where something is drawn, never before.
"""
