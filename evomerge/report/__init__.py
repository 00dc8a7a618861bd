"""Reports as self-contained HTML pages: charts by Vega-Altair and vl-convert, templates by Jinja2.

`palette` and `figure` define the style of figures, `page` that of pages; `charts` declares each
chart as a function of a view (`evomerge.views`). Altair and vl-convert are imported only where
something is drawn, since they take memory.
"""
