"""A local web application over a runs folder; see `README.md` in this folder."""
