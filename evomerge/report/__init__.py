"""Reports as self-contained HTML pages: figures by matplotlib, templates by Jinja2.

`palette` and `figure` define the style of figures, `page` that of pages; the other modules define
the content of reports. matplotlib is imported only where something is drawn, since it is slow.
"""
